"""One run in several sampling nodes, in the real server: what is carried on, and what begins anew."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from graphs import MODES, MULTISTEP, SOLVERS, Outcome, Runs, erk_sampler, schedule
from prompts import demo, node

from devtools.make import compatibility

STEPS, CUT = 8, 5
KINDS = pytest.mark.parametrize("kind", ["eps", "flow"])
CONDITIONS = {"positive": ["demo", 1], "negative": ["demo", 2]}
# The paper's presets depend on the number of steps, so a run and its pieces need the same strengths.
STRENGTHS = {"paper": {"strengths": "custom", "w_stiff": 0.75, "w_con": 0.3}}


def on_demo(server, kind: str, side: int = 64) -> Runs:
    levels = schedule(["demo", 0], STEPS, "simple" if kind == "flow" else "karras")
    split = node("SplitSigmas", sigmas=["sigmas", 0], step=CUT)
    return Runs(server, {**demo(kind, side=side), "sigmas": levels, "split": split})


def custom(runs: Runs, label: str, sampler: str, sigmas: list[Any], latent: Any, **more: Any) -> None:
    inputs = {"model": ["demo", 0], **CONDITIONS, "noise_seed": 1, "cfg": 3.0, "add_noise": True, **more}
    runs.graph[label] = node("SamplerCustom", **inputs, sampler=[sampler, 0], sigmas=sigmas, latent_image=latent)
    runs.save(label, [label, 0])


def advanced(runs: Runs, label: str, latent: Any, start: int, end: int, /, **options: Any) -> None:
    """One of the two KSampler Advanced, ComfyUI's if its sampler is given by ``sampler_name``."""
    inputs: dict[str, Any] = {"model": ["demo", 0], **CONDITIONS, "noise_seed": 1, "cfg": 3.0, "steps": STEPS}
    inputs |= {"scheduler": "simple", "latent_image": latent, "start_at_step": start, "end_at_step": end}
    inputs |= {"add_noise": "disable" if start else "enable", "return_with_leftover_noise": "enable"}
    kind = "KSamplerAdvanced" if "sampler_name" in options else "KSamplerAdvancedERKGuid"
    runs.graph[label] = node(kind, **{**inputs, **options})
    runs.save(label, [label, 0])


def distance(one: Outcome, other: Outcome) -> float:
    return float((one.flat - other.flat).square().mean().sqrt() / other.flat.square().mean().sqrt())


def untouched(latent: list[Any]) -> dict[str, Any]:
    """The same values from another node: nothing proves any more where they come from."""
    return node("LatentMultiply", samples=latent, multiplier=1.0)


def told(situation: str, kind: str, seen: str, modes: list[str]) -> None:
    row = {"situation": situation, "model": f"demo, {kind}", "solvers": SOLVERS, "modes": modes, "seen": seen}
    compatibility.tell("situations", f"{situation}: demo, {kind}", row)


@KINDS
def test_split_schedule(model_server, kind):
    """SplitSigmas, and the second half without new noise."""
    runs = on_demo(model_server, kind)
    ways = [(f"{solver}_{mode}", solver, mode) for solver in SOLVERS for mode in MODES]
    for label, solver, mode in ways:
        runs.graph[f"{label}_sampler"] = erk_sampler(solver, mode, **STRENGTHS.get(mode, {}))
        custom(runs, f"{label}_whole", f"{label}_sampler", ["sigmas", 0], ["demo", 4])
        custom(runs, f"{label}_first", f"{label}_sampler", ["split", 0], ["demo", 4])
        custom(runs, label, f"{label}_sampler", ["split", 1], [f"{label}_first", 0], add_noise=False)
    outcomes = runs.run()
    for label, *_ in ways:
        assert outcomes[label].finite
        assert distance(outcomes[label], outcomes[f"{label}_whole"]) < 1e-5, label
    told("SplitSigmas", kind, "two pieces equal one run", MODES)


@KINDS
def test_leftover_noise(model_server, kind):
    """KSampler Advanced passes a latent with leftover noise to a second and a third one."""
    runs = on_demo(model_server, kind)
    ways = {f"{s}_{mode}": {"solver": s, "mode": mode, **STRENGTHS.get(mode, {})} for s in SOLVERS for mode in MODES}
    ways |= {f"{solver}_stock": {"sampler_name": f"erk_{solver}"} for solver in SOLVERS}
    for label, options in ways.items():
        advanced(runs, f"{label}_whole", ["demo", 4], 0, 99, **options)
        advanced(runs, f"{label}_first", ["demo", 4], 0, 3, **options)
        advanced(runs, f"{label}_second", [f"{label}_first", 0], 3, CUT, **options)
        advanced(runs, label, [f"{label}_second", 0], CUT, 99, **options)
    outcomes = runs.run()
    for label in ways:
        assert outcomes[label].finite
        assert distance(outcomes[label], outcomes[f"{label}_whole"]) < 1e-5, label
        assert outcomes[f"{label}_second"].distance(outcomes[label]) > 0.1, "the second part is not yet done"
    told("KSampler Advanced, leftover noise", kind, "three samplers equal one run", MODES)


@KINDS
@pytest.mark.parametrize("solver", MULTISTEP)
def test_the_cache_changes_nothing(model_server, kind, solver):
    """Queued again with another second part, the first comes from ComfyUI's cache."""
    options = {"solver": solver, "mode": "calibrated"}
    whole, again = on_demo(model_server, kind), []
    advanced(whole, "whole", ["demo", 4], 0, 99, **options)
    expected = whole.run()["whole"]
    for seed in (1, 2):  # without new noise it changes nothing else
        runs = on_demo(model_server, kind)
        advanced(runs, "first", ["demo", 4], 0, CUT, **options)
        advanced(runs, "second", ["first", 0], CUT, 99, **{**options, "noise_seed": seed})
        again.append(runs.run()["second"])
    assert distance(again[0], expected) < 1e-5 and torch.equal(again[0].flat, again[1].flat)


@KINDS
def test_saved_and_loaded_starts_anew(model_server, kind):
    """And so does the same latent from any other node."""
    options = {"solver": "abm", "mode": "calibrated"}
    runs = on_demo(model_server, kind)
    advanced(runs, "first", ["demo", 4], 0, CUT, **options)
    advanced(runs, "second", ["first", 0], CUT, 99, **options)
    runs.graph["other"] = untouched(["first", 0])
    advanced(runs, "anew", ["other", 0], CUT, 99, **options)
    runs.graph["file"] = node("SaveLatent", samples=["first", 0], filename_prefix=f"pieces_{kind}")
    outcomes = runs.run()
    (file,) = (model_server.base / "output").glob(f"pieces_{kind}_*.latent")
    shutil.copy(file, model_server.base / "input" / file.name)
    assert distance(outcomes["anew"], outcomes["second"]) > 1e-3, "the memory shows nothing"
    loaded = on_demo(model_server, kind)
    loaded.graph["loaded"] = node("LoadLatent", latent=file.name)
    loaded.graph["first"] = runs.graph["first"]  # what it knows is still kept
    loaded.save("first", ["first", 0])
    advanced(loaded, "second", ["loaded", 0], CUT, 99, **options)
    assert torch.equal(loaded.run()["second"].flat, outcomes["anew"].flat)


@pytest.mark.parametrize("solver", MULTISTEP)
def test_two_experts(model_server, solver):
    """Another model or prompt takes over: with what is known, if it goes on in the same way."""
    options, cut = {"solver": solver, "mode": "calibrated", "steps": 16}, 8
    runs = on_demo(model_server, "flow")
    runs.graph["alike_model"] = node("Epsilon Scaling", model=["demo", 0], scaling_factor=1.001)
    runs.graph["beads"] = node("DemoModelERKGuid", kind="flow", pictures="beads", width=64, height=64, batch_size=1)
    advanced(runs, "first", ["demo", 4], 0, cut, **options)
    runs.graph["other"] = untouched(["first", 0])
    for expert, wires in {"alike": {"model": ["alike_model", 0]}, "unlike": {"positive": ["beads", 1]}}.items():
        advanced(runs, expert, ["first", 0], cut, 99, **options, **wires)
        advanced(runs, f"{expert}_anew", ["other", 0], cut, 99, **options, **wires)
    outcomes = runs.run()
    assert distance(outcomes["alike"], outcomes["alike_anew"]) > 1e-4, "the memory shows nothing"
    assert torch.equal(outcomes["unlike"].flat, outcomes["unlike_anew"].flat)
