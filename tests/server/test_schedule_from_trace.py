"""Tracing, planning and sampling again, in the real server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prompts import custom, demo, erk_ksampler, images, node, saved

from devtools.comfyui import Server, error_message


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


def named(part: dict[str, Any], name: str) -> dict[str, Any]:
    """A sampler's prompt under another name."""
    return {name: part["sampler"]}


def planned(steps: int = 8, trace: Any = ("sampler", 1), **more: Any) -> dict[str, Any]:
    return {"plan": node("ScheduleFromTraceERKGuid", trace=list(trace), steps=steps, **more)}


def refusal(server: Server, prompt: dict[str, Any]) -> str:
    return error_message(server.wait(server.queue(prompt)))


@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
def test_trace_plan_and_sample_again(server, kind):
    scheduler = "simple" if kind == "flow" else "karras"
    traced = erk_ksampler("abm", "calibrated", seed=101, steps=16, scheduler=scheduler)
    again = named(erk_ksampler("abm", "calibrated", seed=102, sigmas=["plan", 0]), "again")
    outputs = server.run(merged(demo(kind), traced, planned(), again, saved(["again", 0])))
    assert images(server, outputs).std() > 10
    assert len(outputs["plan"]["images"]) == 1
    (text,) = outputs["plan"]["text"]
    assert text.startswith(("8 steps: solver error", "No better schedule")) and "contrast" in text


def test_several_traces_and_a_solver_of_two_calls(server):
    traced = erk_ksampler("heun", "off", seed=103, steps=10)
    second = named(erk_ksampler("deis", "off", seed=104, steps=12), "second")
    outputs = server.run(merged(demo(), traced, second, planned(trace_2=["second", 1])))
    assert outputs["plan"]["text"]


def test_after_a_custom_sampler(server):
    plan = planned(trace=("erk", 1), latent=["sampler", 0])
    assert server.run(merged(demo(), custom("abm", "calibrated", seed=105, steps=12), plan))["plan"]["text"]


def test_its_levels_as_text_are_its_levels(server, object_info):
    if "ManualSigmas" not in object_info:
        pytest.skip("this ComfyUI has no ManualSigmas")
    parts = [demo(), erk_ksampler("abm", "calibrated", seed=106, steps=16), planned()]
    parts += [{"manual": node("ManualSigmas", sigmas=["plan", 1])}]
    for name, source in (("one", ["plan", 0]), ("two", ["manual", 0])):
        parts += [named(erk_ksampler("heun", "off", seed=107, sigmas=source), name), saved([name, 0], f"save_{name}")]
    outputs = server.run(merged(*parts))
    difference = images(server, outputs, "save_one") - images(server, outputs, "save_two")
    assert np.abs(difference).max() <= 1


class TestSigmasOfAKSampler:
    def levels(self, steps: int = 6) -> dict[str, Any]:
        return {"levels": node("BasicScheduler", model=["demo", 0], scheduler="karras", steps=steps, denoise=1.0)}

    def test_replace_scheduler_steps_and_denoise(self, server):
        along = named(
            erk_ksampler("abm", "calibrated", 108, steps=3, scheduler="normal", denoise=0.3, sigmas=["levels", 0]),
            "one",
        )
        plain = named(erk_ksampler("abm", "calibrated", 108, steps=6), "two")
        outputs = server.run(
            merged(demo(), self.levels(), along, plain, saved(["one", 0], "save_one"), saved(["two", 0], "save_two"))
        )
        assert (images(server, outputs, "save_one") == images(server, outputs, "save_two")).all()

    def test_in_two_parts(self, server):
        def part(name: str, noise: str, start: int, end: int, leftover: str, latent: Any) -> dict[str, Any]:
            inputs = erk_ksampler("heun", "off", steps=6)["sampler"]["inputs"]
            inputs = {key: value for key, value in inputs.items() if key not in ("seed", "denoise")}
            inputs |= {"noise_seed": 109, "add_noise": noise, "start_at_step": start, "end_at_step": end}
            inputs |= {"return_with_leftover_noise": leftover, "latent_image": latent, "sigmas": ["levels", 0]}
            return {name: node("KSamplerAdvancedERKGuid", **inputs)}

        whole = part("whole", "enable", 0, 10000, "disable", ["demo", 4])
        first = part("first", "enable", 0, 3, "enable", ["demo", 4])
        second = part("second", "disable", 3, 10000, "disable", ["first", 0])
        outputs = server.run(
            merged(
                demo(), self.levels(), whole, first, second, saved(["whole", 0], "a"), saved(["second", 0], "b")
            )
        )  # fmt: skip
        assert np.abs(images(server, outputs, "a") - images(server, outputs, "b")).max() <= 1


class TestRefusals:
    def test_a_run_made_before_the_node_was_there(self, server):
        sampled = merged(demo(), erk_ksampler("abm", "calibrated", seed=110, steps=10))
        server.run(merged(sampled, saved(["sampler", 0])))
        assert "sample again with another seed" in refusal(server, merged(sampled, planned()))

    def test_one_step(self, server):
        message = refusal(server, merged(demo(), erk_ksampler("abm", "calibrated", seed=111, steps=1), planned()))
        assert "1 noise level," in message

    def test_a_trace_of_a_sampler_that_has_not_run(self, server):
        erk = node("SamplerERKGuid", solver="abm", mode="calibrated")
        assert "empty" in refusal(server, merged({"erk": erk}, planned(trace=("erk", 1))))

    def test_traces_of_two_kinds_of_model(self, server):
        flow = {"flow": demo("flow")["demo"]}
        wires = {"model": ["flow", 0], "positive": ["flow", 1], "negative": ["flow", 2], "latent_image": ["flow", 4]}
        other = named(erk_ksampler("abm", "calibrated", seed=113, steps=8, scheduler="simple", **wires), "other")
        prompt = merged(demo(), erk_ksampler("abm", "calibrated", seed=112), flow, other, planned(trace_2=["other", 1]))
        assert "different models" in refusal(server, prompt)

    def test_sigmas_of_one_level(self, server):
        levels = {"levels": node("BasicScheduler", model=["demo", 0], scheduler="karras", steps=4, denoise=0.0)}
        prompt = merged(demo(), levels, erk_ksampler("abm", "calibrated", 114, sigmas=["levels", 0]))
        message = refusal(server, merged(prompt, saved(["sampler", 0])))
        assert "two noise levels" in message
