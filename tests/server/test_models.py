"""Kinds of model: tiny checkpoints of real architectures, through ComfyUI's stock loaders, in the real server."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from graphs import MODES, Outcome, Runs, check_every_way, every_way, schedule, solvers_for, tiny
from prompts import node
from tiny_models import ARCHITECTURES, architecture

import erk
from devtools.make import compatibility

STEPS = 4
# The base class of the model's sampling type in ComfyUI, by its name on the page.
KINDS = {"EPS": "EPS", "V": "V_PREDICTION", "flow": "CONST", "V (EDM, continuous)": "V_PREDICTION"}

_EDM = {"sigma_max": 80.0, "sigma_min": 0.002}
SAMPLING_NODES = {
    "edm": ("ModelSamplingContinuousEDM", {"sampling": "edm", **_EDM}),
    "edm_playground": ("ModelSamplingContinuousEDM", {"sampling": "edm_playground_v2.5", **_EDM}),
    "edm_eps": ("ModelSamplingContinuousEDM", {"sampling": "eps", **_EDM}),
    "edm_v": ("ModelSamplingContinuousEDM", {"sampling": "v_prediction", **_EDM}),
    "edm_cosmos": ("ModelSamplingContinuousEDM", {"sampling": "cosmos_rflow", **_EDM}),
    "continuous_v": ("ModelSamplingContinuousV", {"sampling": "v_prediction", "sigma_max": 500.0, "sigma_min": 0.03}),
    "discrete_v": ("ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": False}),
    "discrete_v_zsnr": ("ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": True}),
    "discrete_x0": ("ModelSamplingDiscrete", {"sampling": "x0", "zsnr": False}),
    "discrete_lcm": ("ModelSamplingDiscrete", {"sampling": "lcm", "zsnr": False}),
    "sd3_shift": ("ModelSamplingSD3", {"shift": 6.0}),
    "flux_shift": ("ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024}),
}
SHORT = ("edm", "discrete_v", "sd3_shift")


def runs_of(server, graph: dict[str, Any], solvers: list[str]) -> Runs:
    """Each solver in each mode and as ComfyUI's own, all with the same noise, and one run of KSampler (ERK-Guid)."""
    runs = Runs(server, {**graph, "sigmas": schedule(["model", 0], STEPS)})
    every_way(runs.sample, solvers=solvers)
    runs.graph["ksampler"] = node(
        "KSamplerERKGuid", model=["model", 0], seed=5, steps=STEPS, cfg=3.0, solver="abm", scheduler="simple",
        positive=["positive", 0],
        negative=["negative", 0], latent_image=["latent", 0], denoise=1.0, mode="calibrated",
    )  # fmt: skip
    runs.save("ksampler", ["ksampler", 0])
    return runs


def check(
    outcomes: dict[str, Outcome], shapes: tuple[tuple[int, ...], ...], solvers: list[str], undecided: bool = True
) -> None:
    """The checks for every kind of model."""
    check_every_way(outcomes, solvers, undecided=undecided)
    noise = noise_of(shapes)
    for solver, mode in itertools.product(solvers, MODES):
        what, outcome = f"{solver} {mode}", outcomes[f"{solver}_{mode}"]
        assert tuple(tuple(part.shape) for part in outcome.samples) == shapes, what
        scale = (outcome.flat @ noise) / (noise @ noise)
        left = (outcome.flat - scale * noise).norm() / outcome.flat.norm()
        assert left > 0.05, f"{what}: what came out is the noise that went in"
        assert outcome.counts["sampler"] == erk.SOLVERS[solver].calls * (STEPS - 1) + 1, what
    assert outcomes["ksampler"].distance(outcomes["abm_calibrated"]) < 1e-5, "the node and the sampler are one code"


def noise_of(shapes: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    """The noise that ComfyUI draws for seed 5, flat. For nested latents, their parts' noises follow one another."""
    generator = torch.manual_seed(5)
    return torch.cat([torch.randn(shape, generator=generator).flatten() for shape in shapes])


@pytest.mark.parametrize(
    "what", [pytest.param(one, id=one.name, marks=[pytest.mark.long] if one.heavy else []) for one in ARCHITECTURES]
)
def test_architecture(model_server, what):
    solvers = solvers_for(what.name, ARCHITECTURES.index(what))
    outcomes = runs_of(model_server, tiny(model_server, what), solvers).run()
    counts = outcomes["deis_off"].counts
    assert counts["kind"].startswith(KINDS[what.prediction]), counts
    check(outcomes, what.shape, solvers, what.undecided)
    row = {
        "model": what.title, "prediction": what.prediction, "latent": [" x ".join(map(str,
        shape)) for shape in what.shape],
        "loader": what.loader, "solvers": solvers, "modes": MODES, "note": what.note,
    }  # fmt: skip
    compatibility.tell("architectures", what.name, row)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        pytest.param(*value, id=key, marks=[] if key in SHORT else [pytest.mark.long])
        for key, value in SAMPLING_NODES.items()
    ],
)
def test_sampling_type(model_server, kind, inputs):
    """Prediction types and continuous noise levels, as ComfyUI's own nodes put them on a model."""
    what = architecture("sd3" if kind in ("ModelSamplingSD3", "ModelSamplingFlux", "ModelSamplingAuraFlow") else "sd15")
    graph = tiny(model_server, what)
    graph["model"], graph["loaded"] = node(kind, model=["loaded", 0], **inputs), graph["model"]
    solvers = solvers_for(what.name, list(SAMPLING_NODES.values()).index((kind, inputs)))
    check(runs_of(model_server, graph, solvers).run(), what.shape, solvers)
    row = {
        "node": kind,
        "setting": [f"{name} {value}" for name, value in inputs.items()],
        "solvers": solvers,
        "modes": MODES,
    }
    compatibility.tell("sampling", f"{kind} {inputs.get('sampling', '')} {inputs.get('zsnr', '')}".strip(), row)


def test_the_page_is_what_was_recorded():
    assert compatibility.PAGE.read_text() == compatibility.render(compatibility.load()), (
        "run `python -m devtools.make.compatibility`"
    )
