"""Through the real server over HTTP, as a page would."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import numpy as np
import pytest
from prompts import WIRES, custom, demo, erk_ksampler, images, node, picture, saved, stock_ksampler

import erk
from devtools.comfyui import Server, error_message

NODES = [
    "KSamplerERKGuid",
    "KSamplerAdvancedERKGuid",
    "SamplerERKGuid",
    "StiffnessVisualizerERKGuid",
    "ConvergenceTestERKGuid",
    "ScheduleFromTraceERKGuid",
    "DemoModelERKGuid",
]
SOLVERS = list(erk.SOLVERS)
SAMPLERS = [f"erk_{name}" for name in (*SOLVERS, *erk.NOISY)]


class TestRegistry:
    def test_every_dropdown_has_each_sampler_once(self, object_info):
        for kind in ("KSampler", "KSamplerAdvanced", "KSamplerSelect"):
            value = object_info[kind]["input"]["required"]["sampler_name"]
            options = value[0] if isinstance(value[0], list) else value[1]["options"]
            assert [name for name in options if name.startswith("erk_")] == SAMPLERS, kind
            assert "heun" in options and "deis" in options

    @pytest.mark.parametrize("kind", NODES)
    def test_nodes_explain_themselves(self, object_info, kind):
        info = object_info[kind]
        assert info["display_name"] and info["description"] and info["search_aliases"]
        assert info["category"].startswith(object_info["KSampler"]["category"])
        for group in ("required", "optional"):
            for name, (_, *options) in info["input"].get(group, {}).items():
                assert options and len(options[0].get("tooltip", "")) > 20, f"{kind}.{name} has no tooltip"
        assert all(info["output_tooltips"])

    @pytest.mark.parametrize("kind", ["KSamplerERKGuid", "KSamplerAdvancedERKGuid"])
    def test_the_stock_inputs_come_first_and_in_order(self, object_info, kind):
        stock = object_info[kind.removesuffix("ERKGuid")]["input_order"]["required"]
        ours = object_info[kind]["input_order"]["required"]
        assert ours == [name.replace("sampler_name", "solver") for name in stock] + ["mode"]

    def test_help_page_of_each_node(self, server):
        for kind in NODES:
            text = server.fetch(f"/extensions/ComfyUI-ERK-Guid/docs/{kind}.md").decode()
            assert text.startswith("# ") and len(text) > 300


class TestSampling:
    @pytest.mark.parametrize("solver", SOLVERS)
    def test_three_ways_to_the_same_picture(self, server, solver):
        """The stock KSampler by name, our KSampler, and a custom graph run the same code and give the same picture."""
        expected = picture(server, stock_ksampler(f"erk_{solver}"))
        assert expected.std() > 20
        assert np.array_equal(picture(server, erk_ksampler(solver, "calibrated")), expected)
        assert np.array_equal(picture(server, custom(solver, "calibrated")), expected)
        # The strengths of mode paper show, so the options do arrive.
        strong = picture(server, custom(solver, strengths="custom", w_stiff=3.0, w_con=0.0))
        assert not np.array_equal(strong, expected)
        assert not np.array_equal(strong, picture(server, custom(solver)))
        assert np.array_equal(picture(server, erk_ksampler(solver, strengths="custom", w_stiff=3.0, w_con=0.0)), strong)

    @pytest.mark.parametrize("solver", ["heun", "deis"])
    def test_off_is_the_stock_sampler(self, server, solver):
        assert np.abs(picture(server, erk_ksampler(solver, "off")) - picture(server, stock_ksampler(solver))).max() <= 1

    @pytest.mark.parametrize("solver", ["dpm_2", "dpmpp_2s"])
    def test_two_advanced_samplers_are_one(self, server, solver):
        """A run that stops in the middle with leftover noise, and then continues (solvers without memory)."""
        common = {
            **WIRES,
            "noise_seed": 1,
            "steps": 8,
            "cfg": 3.0,
            "solver": solver,
            "scheduler": "karras",
            "mode": "paper",
        }
        first = node(
            "KSamplerAdvancedERKGuid",
            **common,
            add_noise="enable",
            start_at_step=0,
            end_at_step=4,
            return_with_leftover_noise="enable",
        )
        second = node(
            "KSamplerAdvancedERKGuid", **{**common, "latent_image": ["first", 0]}, add_noise="disable", start_at_step=4,
            end_at_step=99,
            return_with_leftover_noise="disable",
        )  # fmt: skip
        # The strengths' preset depends on the number of steps of each run: fix them.
        for part in (first, second):
            part["inputs"] |= {"strengths": "custom", "w_stiff": 0.75, "w_con": 0.3}
        whole = picture(server, erk_ksampler(solver, strengths="custom", w_stiff=0.75, w_con=0.3))
        split = picture(server, {"first": first, "sampler": second})
        assert np.abs(whole - split).max() <= 1

    def test_partial_denoise_keeps_the_latent(self, server):
        """In image to image, less denoise leaves the picture closer to its start."""
        start = {"base": stock_ksampler("erk_deis", seed=9, steps=12)["sampler"]}
        base = picture(server, start, latent=("base", 0))
        distance = []
        for denoise in (0.2, 0.95):
            sampler = erk_ksampler("heun", seed=4, denoise=denoise, latent_image=["base", 0])
            distance.append(np.abs(picture(server, start, sampler) - base).mean())
        assert distance[0] < 0.5 * distance[1]

    def test_inpainting_mask(self, server):
        start = {"base": stock_ksampler("erk_deis", seed=9, steps=12)["sampler"]}
        masked = {
            "solid": node("SolidMask", value=0.0, width=64, height=64),
            "hole": node("SolidMask", value=1.0, width=32, height=64),
            "mask": node("MaskComposite", destination=["solid", 0], source=["hole", 0], x=0, y=0, operation="add"),
            "masked": node("SetLatentNoiseMask", samples=["base", 0], mask=["mask", 0]),
        }
        base = picture(server, start, latent=("base", 0))
        for solver, mode in itertools.product(SOLVERS, ("paper", "calibrated")):
            result = picture(server, start, masked, erk_ksampler(solver, mode, seed=4, latent_image=["masked", 0]))
            assert np.abs(result - base)[:, :, 32:].max() <= 1, "outside the mask nothing changes"
            assert np.abs(result - base)[:, :, :32].mean() > 5

    def test_batch(self, server):
        outputs = server.run({**demo(batch=3), **erk_ksampler("deis"), **saved(["sampler", 0])})
        batch = images(server, outputs)
        assert batch.shape == (3, 64, 64, 3)
        assert np.abs(batch[0] - batch[1]).mean() > 5

    @pytest.mark.parametrize("kind", ["v", "flow"])
    @pytest.mark.parametrize("solver", SOLVERS)
    def test_other_kinds_of_model(self, server, kind, solver):
        prompt = {**demo(kind), **erk_ksampler(solver, steps=12), **saved(["sampler", 0])}
        prompt["sampler"]["inputs"]["scheduler"] = "simple"
        assert images(server, server.run(prompt)).std() > 20

    def test_progress_previews_and_interrupt(self, server):
        import websocket

        socket = websocket.create_connection(
            f"{server.address.replace('http', 'ws')}/ws?clientId=test-progress", timeout=120
        )
        try:
            prompt = {**demo(batch=2), **erk_ksampler("heun", seed=77, steps=30), **saved(["sampler", 0])}
            prompt_id = server.queue(prompt, "test-progress")
            values, previews = _listen(socket, prompt_id)
            # Core throttles these events, so not each step need come; they rise to the end and never beyond.
            assert values == sorted(values) and values[-1] == 30 and len(values) > 3
            assert previews > 0

            prompt = {**demo(batch=8, side=512), **erk_ksampler("heun", seed=78, steps=400), **saved(["sampler", 0])}
            prompt_id = server.queue(prompt, "test-progress")
            _listen(socket, prompt_id, stop_at=3)
            server.post("/interrupt", {})
            entry = server.wait(prompt_id, 60)
            assert entry["status"]["status_str"] == "error"
            assert any(name == "execution_interrupted" for name, _ in entry["status"]["messages"])
        finally:
            socket.close()
        assert picture(server, erk_ksampler("deis", seed=79)).std() > 20, "after an interrupt the next queue works"


def _listen(socket, prompt_id: str, stop_at: int | None = None) -> tuple[list[int], int]:
    values: list[int] = []
    previews = 0
    end = time.monotonic() + 120
    while time.monotonic() < end:
        message = socket.recv()
        if isinstance(message, bytes):
            previews += 1
            continue
        event = json.loads(message)
        if event["type"] == "progress" and event["data"]["max"] > 1:
            values.append(event["data"]["value"])
            if stop_at and values[-1] >= stop_at:
                return values, previews
        if event["type"] in ("execution_success", "execution_error") and event["data"].get("prompt_id") == prompt_id:
            return values, previews
    raise AssertionError(f"no end of the prompt was told; progress so far: {values}")


class TestTrace:
    def read(self, server: Server, prompt: dict[str, Any]) -> dict[str, Any]:
        outputs = server.run({**prompt, "show": node("PreviewAny", source=["plot", 1])})
        return json.loads(outputs["show"]["text"][0])

    def plot(self, *, trace: list[Any], latent: list[Any] | None = None) -> dict[str, Any]:
        inputs = {"trace": trace, **({"latent": latent} if latent else {})}
        return {"plot": node("StiffnessVisualizerERKGuid", **inputs)}

    def test_numbers_and_plot(self, server):
        prompt = {**demo(batch=2), **erk_ksampler("heun"), **self.plot(trace=["sampler", 1])}
        prompt["keep"] = node("SaveImage", images=["plot", 0], filename_prefix="plot")
        outputs = server.run({**prompt, "show": node("PreviewAny", source=["plot", 1])})
        data = json.loads(outputs["show"]["text"][0])
        assert data["run"]["solver"] == "heun" and data["run"]["mode"] == "paper"
        assert (data["run"]["w_stiff"], data["run"]["w_con"]) == (0.5, 0.1), "the preset for 8 steps"
        assert len(data["steps"]) == 8 and data["steps"][-1]["model_calls"] == 15
        assert all(len(step["stiffness"]) == 2 for step in data["steps"])
        plot = images(server, outputs, "keep")[0]
        assert plot.shape == (800, 1120, 3)
        assert plot.std() > 10 and (plot == [213, 94, 0]).all(-1).sum() > 100, "guided steps are drawn in vermilion"
        assert outputs["plot"]["images"][0]["type"] == "temp", "and the node shows the plot itself"

    def test_a_cached_sampler_and_trace_are_right_on_the_next_queues(self, server):
        def queue(seed: int) -> dict[str, Any]:
            return self.read(
                server, {**demo(), **custom("dpm_2", seed=seed), **self.plot(trace=["erk", 1], latent=["sampler", 0])}
            )

        first, second, third = queue(101), queue(102), queue(101)
        assert [len(data["steps"]) for data in (first, second, third)] == [8, 8, 8]
        assert first == third
        assert first != second

    def test_empty_trace_gives_a_plot_that_says_so(self, server):
        prompt = {"erk": node("SamplerERKGuid", solver="heun", mode="off"), **self.plot(trace=["erk", 1])}
        prompt["keep"] = node("SaveImage", images=["plot", 0], filename_prefix="empty")
        outputs = server.run({**prompt, "show": node("PreviewAny", source=["plot", 1])})
        assert json.loads(outputs["show"]["text"][0]) == {"run": None, "error": [], "steps": []}
        assert images(server, outputs, "keep").std() > 1, "some words are on it"


class TestErrors:
    @pytest.mark.parametrize(
        ("inputs", "name"),
        [
            ({"solver": "nonsense"}, "solver"),
            ({"mode": "nonsense"}, "mode"),
            ({"w_stiff": -1.0}, "w_stiff"),
            ({"w_con": -0.5}, "w_con"),
            ({"steps": 0}, "steps"),
        ],
    )
    def test_a_wrong_input_is_refused_and_the_server_goes_on(self, server, inputs, name):
        sampler = erk_ksampler("heun")
        sampler["sampler"]["inputs"] |= inputs
        status, answer = server.post("/prompt", {"prompt": {**demo(), **sampler, **saved(["sampler", 0])}})
        assert status == 400
        errors = answer["node_errors"]["sampler"]["errors"]
        assert [error["extra_info"]["input_name"] for error in errors] == [name]
        assert picture(server, erk_ksampler("heun")).std() > 20

    def test_an_error_while_sampling_is_told_and_the_server_goes_on(self, server):
        prompt = {**demo(), **erk_ksampler("heun"), **saved(["sampler", 0])}
        prompt["odd"] = node(
            "LatentUpscale", samples=["sampler", 0], upscale_method="bilinear", width=328, height=328, crop="disabled"
        )
        prompt["again"] = node(
            "KSamplerERKGuid", **{**prompt["sampler"]["inputs"], "latent_image": ["odd", 0], "denoise": 0.5}
        )
        prompt |= saved(["again", 0], "save2")
        entry = server.wait(server.queue(prompt))
        assert entry["status"]["status_str"] == "error"
        assert "divisible by 32" in error_message(entry)
        assert picture(server, erk_ksampler("heun")).std() > 20
