"""The default never makes values explode: the demo model with CFG, as in a new user's first graph.

This calls the nodes' own functions in a real ComfyUI. A server would only take more time.
"""

from __future__ import annotations

import pytest
import torch

from devtools.inprocess import load_pack, pack_module

load_pack()

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402

SCHEDULERS = comfy.samplers.SCHEDULER_NAMES
SOLVERS = tuple(pack_module("erk").SOLVERS)
CFGS = (1.0, 3.0, 8.0, 12.0)


def clipped(kind: str, scheduler: str, solver: str, steps: int, cfg: float, mode: str) -> torch.Tensor:
    """Share of each picture's values outside -1..1, [B]."""
    demo = pack_module("nodes.demo.model")
    model = demo.build_demo_model(kind)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    sampler = comfy.samplers.KSAMPLER(pack_module("nodes.samplers").SAMPLERS[f"erk_{solver}"], {"mode": mode})
    noise = torch.randn((6, 3, 64, 64), generator=torch.Generator().manual_seed(9))
    conditionings = demo.class_conditioning("arcs"), demo.class_conditioning("everything")
    latent = torch.zeros_like(noise)
    pictures = comfy.sample.sample_custom(
        model, noise, cfg, sampler, sigmas, *conditionings, latent, disable_pbar=True, seed=9
    )
    assert torch.isfinite(pictures).all()
    return (pictures.abs() > 1).float().flatten(1).mean(1)


@pytest.mark.parametrize("cfg", CFGS)
@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
@pytest.mark.parametrize(
    "scheduler", ["karras", "normal", "simple", "linear_quadratic", pytest.param("beta", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("steps", [8, pytest.param(12, marks=pytest.mark.long), 16])
def test_the_default_solver_does_not_burst(kind, scheduler, steps, cfg):
    off, calibrated = (clipped(kind, scheduler, "abm", steps, cfg, mode) for mode in ("off", "calibrated"))
    assert (calibrated <= off + 0.02).all(), (off, calibrated)


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS if solver != "abm"])
@pytest.mark.parametrize(("kind", "scheduler"), [("eps", "karras"), ("flow", "simple")])
@pytest.mark.parametrize("cfg", [3.0, 8.0])
def test_other_solvers_do_not_burst(kind, scheduler, solver, cfg):
    off, calibrated = (clipped(kind, scheduler, solver, 8, cfg, mode) for mode in ("off", "calibrated"))
    assert calibrated.mean() <= off.mean() + 0.02, (off, calibrated)


def test_the_first_graph_has_few_clipped_values():
    """Karras at 8 steps and CFG 8. There, calibrated once clipped 0.99 of all values, and off 0.46.

    Today it is 0.15 with either.
    """
    assert clipped("eps", "karras", "abm", 8, 8.0, "calibrated").mean() < 0.16


@pytest.mark.long
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_every_scheduler_and_solver(kind, scheduler, solver):
    for steps in (6, 8, 12, 20):
        for cfg in CFGS:
            off, calibrated = (clipped(kind, scheduler, solver, steps, cfg, mode) for mode in ("off", "calibrated"))
            assert calibrated.mean() <= off.mean() + 0.02, (steps, cfg, off, calibrated)
