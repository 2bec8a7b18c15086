"""Samplers inside nodes that sample by themselves, or that come between sampler and model, in the real server.

The demo model's denoiser is exact, so every way of using it has a converged picture: the same graph with a sampler that
cuts each step into many. The default mode must end as near to it as mode off does, or nearer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from graphs import LONG, MODES, SOLVERS, Graph, Runs, erk_sampler, schedule, stock_sampler
from prompts import demo, node
from torch import Tensor

import erk
from devtools.make import compatibility
from devtools.twins import TWINS

BUDGETS = (8, 16) if LONG else (8,)
"""Model calls of each run."""

FINE = 96
"""About so many steps are in a converged run."""

NOISES = 3
"""Noises of each run. Its error is over all of them."""

ALLOWED = 1.05
"""The largest error of the default mode, in errors of mode off."""

WIRES = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent": ["demo", 4]}


@dataclass(frozen=True)
class Situation:
    """Where a sampler is used.

    title    and whose call it is, for the page
    size     height and width of the demo model's latent
    denoise  below 1, sampling starts from a picture
    nodes    nodes of the graph, beside the demo model
    wires    what the sampling node is given, where that is not the demo model's own
    sampler  the node that samples, and its options; None: ComfyUI's SamplerCustom
    around   the node around the SAMPLER, and its options
    batch    noises at once; with 1, as many runs follow each other
    losses   (kind, solver, calls) where the default mode is known to end further away
    """

    title: str
    call: str
    kinds: tuple[str, ...] = ("eps", "flow")
    size: tuple[int, int] = (64, 64)
    denoise: float = 1.0
    nodes: Graph = field(default_factory=dict)
    wires: Graph = field(default_factory=dict)
    sampler: tuple[str, Graph] | None = None
    around: tuple[str, Graph] | None = None
    batch: int = NOISES
    losses: tuple[tuple[str, str, int], ...] = ()


class Measured:
    """All runs of a situation, in one prompt."""

    def __init__(self, server: Any, situation: Situation, kind: str, cfg: float = 1.0) -> None:
        self.situation, self.cfg = situation, cfg
        self.runs = Runs(server, demo(kind, situation.batch))
        self.graph = graph = self.runs.graph
        graph["demo"]["inputs"] |= dict(zip(("height", "width"), situation.size, strict=True))
        graph["other"] = node("DemoModelERKGuid", **{**graph["demo"]["inputs"], "pictures": "beads"})
        self.scheduler = "simple" if kind == "flow" else "karras"
        graph["base_sigmas"] = schedule(["demo", 0], 12, self.scheduler)
        graph["base_sampler"] = node("KSamplerSelect", sampler_name="deis")
        graph["base"] = node(
            "SamplerCustom", model=["demo", 0], add_noise=True, noise_seed=9, cfg=1.0, positive=["demo", 1],
            negative=["demo", 2], sampler=["base_sampler", 0], sigmas=["base_sigmas", 0], latent_image=["demo", 4],
        )  # fmt: skip
        graph |= situation.nodes

    def add(self, label: str, sampler: Graph, steps: int, **options: Any) -> None:
        graph, of = self.graph, self.situation
        graph[f"sigmas_{steps}"] = schedule(["demo", 0], steps, self.scheduler, of.denoise)
        graph[f"{label}_sampler"] = sampler
        wires = {**WIRES, **({"latent": ["base", 0]} if of.denoise < 1 else {}), **of.wires, **options}
        wires |= {"sampler": [f"{label}_sampler", 0], "sigmas": [f"sigmas_{steps}", 0], "cfg": self.cfg}
        if of.around is not None:
            name, of_wrapper = of.around
            graph[f"{label}_around"] = node(name, sampler=wires["sampler"], **of_wrapper)
            wires["sampler"] = [f"{label}_around", 0]
        if of.sampler is None:
            name, of_node = "SamplerCustom", {"add_noise": True}
            seed, wires["latent_image"] = "noise_seed", wires.pop("latent")
        else:
            (name, of_node), seed = of.sampler, "seed"
        for number in range(NOISES // of.batch):
            graph[f"{label}_{number}"] = node(name, **{**wires, **of_node, **options}, **{seed: 5 + number})
            self.runs.save(f"{label}_{number}", [f"{label}_{number}", 0])

    def run(self) -> dict[str, Tensor]:
        """The latents by label."""
        made = self.runs.run(timeout=900)
        numbers = range(NOISES // self.situation.batch)
        labels = dict.fromkeys(label.rpartition("_")[0] for label in made)
        latents = {label: torch.cat([made[f"{label}_{number}"].samples[0] for number in numbers]) for label in labels}
        assert all(latent.isfinite().all() for latent in latents.values())
        return latents


def steps_within(solver: str, calls: int) -> int:
    """How many steps make so many calls: the last one, to sigma 0, makes one."""
    return 1 + (calls - 1) // erk.SOLVERS[solver].calls


def distance(one: Tensor, other: Tensor) -> float:
    """Root mean square over all numbers and noises."""
    return float((one - other).square().mean().sqrt())


def sampled(server: Any, situation: Situation, kind: str, cfg: float = 1.0) -> dict[str, Tensor]:
    """The latents "heun_8_off", "heun_8_calibrated", "heun_8_stock" and "converged_4" (of so many steps)."""
    measured = Measured(server, situation, kind, cfg)
    for solver in SOLVERS:
        for calls in BUDGETS:
            steps = steps_within(solver, calls)
            for mode in ("off", "calibrated"):
                measured.add(f"{solver}_{calls}_{mode}", erk_sampler(solver, mode), steps)
            if solver in TWINS:
                measured.add(f"{solver}_{calls}_stock", stock_sampler(solver), steps)
            if f"converged_{steps}_0" not in measured.graph:
                measured.add(f"converged_{steps}", node("ProbeConverged", parts=FINE // steps), steps)
    return measured.run()


def larger(side: int) -> Graph:
    """Node "larger": the start, enlarged. LatentUpscale counts in pixels of models whose latents are smaller."""
    size = {"width": 8 * side, "height": 8 * side}
    return {"larger": node("LatentUpscale", samples=["base", 0], upscale_method="bilinear", crop="disabled", **size)}


def windows(context_schedule: str) -> Graph:
    """The model patched by ComfyUI's context windows along the width. They are shifted against the mosaic's tiles."""
    inputs = {
        "context_length": 64, "context_overlap": 16, "dim": 3, "context_stride": 1, "closed_loop": False,
        "fuse_method": "pyramid", "freenoise": False, "cond_retain_index_list": "", "split_conds_to_windows": False,
        "latent_retain_index_list": "", "causal_window_fix": False,
    }  # fmt: skip
    patched = node("ContextWindowsManual", model=["demo", 0], context_schedule=context_schedule, **inputs)
    return {"patched": patched}


def both(name: str, **inputs: Any) -> Graph:
    """Node "both": the demo model's prompt, and another one for a region."""
    return {
        "region": node(name, conditioning=["other", 1], strength=1.0, **inputs),
        "both": node("ConditioningCombine", conditioning_1=["demo", 1], conditioning_2=["region", 0]),
    }


BOXES = json.dumps([[0, 0, 32], [8, 48, 32], [56, 20, 32]])
PATCHED = {"model": ["patched", 0]}
OWN = "ComfyUI's own nodes"
SITUATIONS = {
    "detailer": Situation(
        "detailer: three boxes, enlarged, masked, denoise 0.5", "Impact Pack's FaceDetailer", size=(96, 96),
        denoise=0.5, sampler=("ProbeDetailer", {"boxes": BOXES, "feather": 0}),
    ),
    "detailer_soft": Situation(
        "the same with a soft mask and DifferentialDiffusion", "Impact Pack's FaceDetailer", size=(96, 96),
        denoise=0.5, sampler=("ProbeDetailer", {"boxes": BOXES, "feather": 8}), wires=PATCHED,
        nodes={"patched": node("DifferentialDiffusion", model=["demo", 0], strength=1.0)},
    ),
    "tiled_upscale": Situation(
        "tiled upscale: four tiles with padding, denoise 0.4", "Ultimate SD Upscale", denoise=0.4,
        nodes=larger(128), wires={"latent": ["larger", 0]},
        sampler=("ProbeTiledUpscale", {"tile": 64, "padding": 16, "blur": 4}),
    ),
    "tiles_in_turn": Situation(
        "all tiles one step at a time, on a grid that moves", "TiledKSampler, random strict", ("eps",), (96, 96),
        sampler=("ProbeTilesInTurn", {"tile": 64}),
    ),
    "tiled_model": Situation(
        "predictions of overlapping tiles averaged", "Tiled Diffusion, MultiDiffusion", size=(96, 128), wires=PATCHED,
        nodes={"patched": node("ProbeTiledModel", model=["demo", 0], tile=64, stride=48)},
    ),
    "windows": Situation(
        "context windows, static", OWN, size=(64, 128), wires=PATCHED, batch=1, nodes=windows("standard_static"),
    ),
    "windows_moving": Situation(
        "context windows that move at each step", OWN, size=(64, 128), wires=PATCHED, batch=1,
        nodes=windows("standard_uniform"),
    ),
    "area": Situation(
        "regional prompts, area", OWN, size=(64, 128), wires={"positive": ["both", 0]},
        nodes=both("ConditioningSetAreaPercentage", width=0.5, height=1.0, x=0.5, y=0.0),
    ),
    "mask": Situation(
        "regional prompts, mask", OWN, size=(64, 128), wires={"positive": ["both", 0]},
        nodes={
            "solid": node("SolidMask", value=0.0, width=128, height=64),
            "hole": node("SolidMask", value=1.0, width=56, height=64),
            "half": node("MaskComposite", destination=["solid", 0], source=["hole", 0], x=0, y=0, operation="add"),
            **both("ConditioningSetMask", mask=["half", 0], set_cond_area="default"),
        },
    ),
    "lower_level": Situation(
        "the model is asked for a lower noise level, by up to 30 %", "Detail Daemon",
        around=("ProbeLyingSigma", {"amount": 0.3, "bump": True}),
    ),
    "higher_level": Situation(
        "the model is asked for a higher noise level, by up to 10 %", "Detail Daemon, negative",
        around=("ProbeLyingSigma", {"amount": -0.1, "bump": True}),
        losses=(("flow", "heun", 8),),
    ),
    "lower_between": Situation(
        "the model is asked for a level lower by 5 %, between two levels", "Lying Sigma Sampler",
        around=("ProbeLyingSigma", {"amount": 0.05, "bump": False}),
    ),
    "epsilon_scaling": Situation(
        "Epsilon Scaling, 1.03", OWN, wires=PATCHED,
        nodes={"patched": node("Epsilon Scaling", model=["demo", 0], scaling_factor=1.03)},
    ),
    "rescaling": Situation(
        "Temporal Score Rescaling, 0.95", OWN, wires=PATCHED, batch=1,
        nodes={"patched": node("TemporalScoreRescaling", model=["demo", 0], tsr_k=0.95, tsr_sigma=1.0)},
        losses=(("flow", "heun", 8), ("flow", "dpmpp_2s", 8)),
    ),
}  # fmt: skip


def told(situation: Situation, kind: str, seen: str, modes: list[str]) -> None:
    row = {"situation": situation.title, "call": situation.call, "model": f"demo, {kind}", "solvers": SOLVERS}
    compatibility.tell("inside", f"{situation.title}: {kind}", {**row, "modes": modes, "seen": seen})


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, situation in SITUATIONS.items() for kind in situation.kinds]
)
def test_calibrated_is_as_near_as_off(model_server, name, kind):
    situation = SITUATIONS[name]
    made = sampled(model_server, situation, kind)
    lost = []
    for solver in SOLVERS:
        for calls in BUDGETS:
            end, ways = made[f"converged_{steps_within(solver, calls)}"], f"{solver}_{calls}"
            off, calibrated = (distance(made[f"{ways}_{mode}"], end) for mode in ("off", "calibrated"))
            assert off > 0, f"{ways}: there is no error to compare with"
            lost += [(kind, solver, calls)] if calibrated > ALLOWED * off else []
            if solver in TWINS:
                own = made[f"{ways}_stock"]
                assert distance(made[f"{ways}_off"], own) < 2e-3 * own.square().mean().sqrt(), f"{ways}: not ComfyUI's"
    known = [loss for loss in situation.losses if loss[0] == kind]
    rows = compatibility.load().get("rows", {}).get("inside", {})
    shipped = rows.get(f"{situation.title}: {kind}", {}).get("solvers", SOLVERS)
    assert sorted(loss for loss in lost if loss[1] in shipped) == sorted(loss for loss in known if loss[2] in BUDGETS)
    # A solver that is newer than the record may lose where others do.
    assert {loss[2] for loss in lost} <= {loss[2] for loss in known}, lost
    named = " and ".join(f"`{solver}` at {calls}" for _, solver, calls in known)
    seen = "as near as `off`" + (f", but not {named} calls" if named else "")
    told(situation, kind, seen, ["calibrated", "off"])


@pytest.mark.parametrize("mode", MODES)
def test_tiles_in_turn_know_nothing_of_each_other(model_server, mode):
    """Each tile is sampled for one step, then the next: in whatever order, and without another tile's history."""
    situation = SITUATIONS["tiles_in_turn"]
    measured = Measured(model_server, situation, "eps")
    for solver in SOLVERS:
        for order in ("forwards", "backwards"):
            sampler = erk_sampler(solver, mode)
            measured.add(f"{solver}_{order}", sampler, 6, backwards=order == "backwards")
    made = measured.run()
    for solver in SOLVERS:
        assert torch.equal(made[f"{solver}_forwards"], made[f"{solver}_backwards"]), solver


def test_a_detailer_takes_samplers_by_name(model_server):
    """As FaceDetailer does: the name in ComfyUI's list of samplers means the default mode."""
    measured = Measured(model_server, SITUATIONS["detailer"], "flow")
    for solver in SOLVERS:
        measured.add(f"{solver}_named", node("KSamplerSelect", sampler_name=f"erk_{solver}"), 4)
        measured.add(f"{solver}_made", erk_sampler(solver, "calibrated"), 4)
    made = measured.run()
    for solver in SOLVERS:
        assert torch.equal(made[f"{solver}_named"], made[f"{solver}_made"]), solver
