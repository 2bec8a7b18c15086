"""User mistakes in the real server give one clear sentence on the node, and the next prompt works."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_models
from graphs import Runs, erk_sampler, schedule, tiny
from prompts import node

from devtools.comfyui import Server


def failure(server: Server, prompt: dict[str, Any]) -> dict[str, Any]:
    """What the page shows on the node: {"node_id", "node_type", "exception_type", "exception_message"}."""
    entry = server.wait(server.queue(prompt))
    assert entry["status"]["status_str"] == "error", "this ought to fail"
    return next(data for name, data in entry["status"]["messages"] if name == "execution_error")


def refusal(server: Server, prompt: dict[str, Any]) -> dict[str, Any]:
    """The errors, by node, of a prompt that is not queued at all."""
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400, answer
    return answer["node_errors"]


def goes_on(server: Server) -> None:
    """The next queue works."""
    runs = Runs(server, tiny(server, tiny_models.architecture("sd3")))
    runs.graph["sigmas"] = schedule(["model", 0], 2)
    runs.sample("after", erk_sampler("heun", "calibrated"))
    assert runs.run()["after"].finite


def demo(**inputs: Any) -> dict[str, Any]:
    return {
        "demo": node(
            "DemoModelERKGuid",
            **{"kind": "eps", "pictures": "arcs", "width": 64, "height": 64, "batch_size": 1, **inputs},
        )
    }


def ksampler(**inputs: Any) -> dict[str, Any]:
    defaults = {
        "model": ["demo", 0], "seed": 1, "steps": 3, "cfg": 3.0, "solver": "heun", "scheduler": "karras",
        "positive": ["demo", 1],
        "negative": ["demo", 2], "latent_image": ["demo", 4], "denoise": 1.0, "mode": "calibrated",
    }  # fmt: skip
    return {
        "sampler": node("KSamplerERKGuid", **{**defaults, **inputs}),
        "keep": node("ProbeSave", latent=["sampler", 0], name="error"),
    }


class TestLatent:
    @pytest.mark.parametrize("kind", ["KSamplerERKGuid", "KSampler"])
    def test_wrong_channel_count_on_the_demo_model(self, model_server, kind):
        prompt = {
            **demo(),
            "latent": node("ProbeLatent", shape="[1, 4, 64, 64]", scale=1.0),
            **ksampler(latent_image=["latent", 0]),
        }
        if kind == "KSampler":
            prompt["sampler"]["class_type"] = kind
            inputs = prompt["sampler"]["inputs"]
            inputs["sampler_name"] = f"erk_{inputs.pop('solver')}"
            del inputs["mode"]
        error = failure(model_server, prompt)
        message = error["exception_message"].strip().splitlines()[0]
        assert error["node_id"] == "sampler"
        assert message.startswith(
            "ERK-Guid demo model: the latent's samples have the shape (4, 64, 64), but must be (3, height, width)"
        )
        assert message.endswith("use the demo model node's own latent output.")
        goes_on(model_server)

    def test_wrong_channel_count_on_another_model_is_reported_by_the_model(self, model_server):
        """Another model's message about its input is not changed. It appears on the node as it is."""
        graph = tiny(model_server, tiny_models.architecture("sd3"))
        graph["odd"] = node("ProbeLatent", shape="[1, 5, 8, 8]", scale=1.0)
        wires = {
            "model": ["model", 0],
            "positive": ["positive", 0],
            "negative": ["negative", 0],
            "latent_image": ["odd", 0],
        }
        ours = failure(model_server, {**graph, **ksampler(**wires, scheduler="simple")})
        prompt = {**graph, **ksampler(**wires, scheduler="simple")}
        inputs = {key: value for key, value in prompt["sampler"]["inputs"].items() if key not in ("solver", "mode")}
        prompt["sampler"] = node("KSampler", **inputs, sampler_name="heun")
        stock = failure(model_server, prompt)
        assert ours["node_id"] == "sampler" and ours["exception_message"] == stock["exception_message"]
        assert "channels" in ours["exception_message"]
        goes_on(model_server)


class TestWires:
    @pytest.mark.parametrize(
        ("name", "wrong"),
        [("model", ["demo", 3]), ("positive", ["demo", 0]), ("latent_image", ["demo", 0]), ("model", ["demo", 4])],
    )
    def test_a_wire_of_the_wrong_type_is_refused_with_the_input_s_name(self, model_server, name, wrong):
        errors = refusal(model_server, {**demo(), **ksampler(**{name: wrong})})["sampler"]["errors"]
        assert [error["extra_info"]["input_name"] for error in errors] == [name]
        assert "mismatch" in errors[0]["message"]
        goes_on(model_server)

    def test_a_visualizer_without_a_trace_is_refused(self, model_server):
        errors = refusal(model_server, {"plot": node("StiffnessVisualizerERKGuid")})["plot"]["errors"]
        assert errors[0]["extra_info"]["input_name"] == "trace" and "missing" in errors[0]["message"]
        goes_on(model_server)

    def test_a_trace_that_leads_nowhere_is_no_error(self, model_server):
        outputs = model_server.run({**demo(), **ksampler()})
        assert outputs["keep"]["text"] == ["error.pt"]

    def test_something_else_for_a_trace_is_refused(self, model_server):
        prompt = {**demo(), "plot": node("StiffnessVisualizerERKGuid", trace=["demo", 4])}
        errors = refusal(model_server, prompt)["plot"]["errors"]
        assert "ERK_TRACE" in errors[0]["details"]
        goes_on(model_server)

    def test_a_visualizer_that_runs_before_the_sampler_says_so_and_goes_on(self, model_server):
        """There is no error, because nothing is wrong yet. The plot has words on it, but no steps."""
        prompt = {
            # Use a setting that no other test has. ComfyUI keeps the outputs of nodes with equal inputs, and with them
            # the trace of an earlier run.
            "erk": erk_sampler("heun", "calibrated", w_stiff=0.123),
            "plot": node("StiffnessVisualizerERKGuid", trace=["erk", 1]),
            "show": node("PreviewAny", source=["plot", 1]),
        }
        outputs = model_server.run(prompt)
        assert '"steps": []' in outputs["show"]["text"][0]
        assert outputs["plot"]["images"]
        goes_on(model_server)


class TestModel:
    def test_the_wrong_kind_of_file_for_a_loader(self, model_server):
        """A LoRA is not a checkpoint. ComfyUI says so on its loader, and the pack is not called."""
        models = model_server.base / "models"
        (models / "diffusion_models").mkdir(parents=True, exist_ok=True)
        lora = models / "loras" / tiny_models.write_lora(models)
        (models / "diffusion_models" / "no_model.safetensors").write_bytes(lora.read_bytes())
        loader = node("UNETLoader", unet_name="no_model.safetensors", weight_dtype="default")
        error = failure(model_server, {**demo(), "loader": loader, **ksampler(model=["loader", 0])})
        assert error["node_id"] == "loader" and "Could not detect model type" in error["exception_message"]
        goes_on(model_server)

    def test_conditioning_of_another_model(self, model_server):
        """The text encoder of another model: the model's own message is on the node, as with the stock KSampler."""
        graph = tiny(model_server, tiny_models.architecture("sd3"))
        graph["positive"]["inputs"]["width"] = 50
        wires = {
            "model": ["model", 0],
            "positive": ["positive", 0],
            "negative": ["negative", 0],
            "latent_image": ["latent", 0],
        }
        error = failure(model_server, {**graph, **ksampler(**wires, scheduler="simple")})
        assert error["node_id"] == "sampler" and "mat1 and mat2 shapes" in error["exception_message"]
        goes_on(model_server)


class TestSchedule:
    @pytest.mark.parametrize(("sigmas", "words"), [("0, 1.0", "starts at sigma 0"), ("1.0, -0.5", "not negative")])
    def test_a_schedule_no_solver_can_follow(self, model_server, sigmas, words):
        prompt = {
            **demo(),
            "erk": erk_sampler("heun", "calibrated"),
            "sigmas": node("ManualSigmas", sigmas=sigmas),
            "sampler": node(
                "SamplerCustom", model=["demo", 0], add_noise=True, noise_seed=1, cfg=3.0, positive=["demo", 1],
                negative=["demo", 2],
                sampler=["erk", 0], sigmas=["sigmas", 0], latent_image=["demo", 4],
            ),
            "keep": node("ProbeSave", latent=["sampler", 0], name="error"),
        }  # fmt: skip
        error = failure(model_server, prompt)
        message = error["exception_message"].strip().splitlines()[0]
        assert error["node_id"] == "sampler" and message.startswith("ERK-Guid: ") and words in message
        goes_on(model_server)
