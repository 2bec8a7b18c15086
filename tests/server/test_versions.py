"""The differences between ComfyUI versions, and the pack on the installed one.

`python dev.py test --comfyui PATH tests/server/test_versions.py` runs this on another ComfyUI, with its own Python.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from devtools.inprocess import pack_module


class OldInput:
    """As in ComfyUI 0.3.48: no `advanced`."""

    def __init__(self, name: str, default: int | None = None, tooltip: str | None = None) -> None:
        self.given = {"name": name, "default": default, "tooltip": tooltip}


class OldSchema:
    """As in ComfyUI 0.3.48: neither `search_aliases` nor `essentials_category`."""

    def __init__(self, node_id: str, category: str = "sd") -> None:
        self.given = {"node_id": node_id, "category": category}


class NewInput(OldInput):
    def __init__(
        self, name: str, default: int | None = None, tooltip: str | None = None, advanced: bool | None = None
    ) -> None:
        super().__init__(name, default, tooltip)
        self.given["advanced"] = advanced


@pytest.fixture
def make(pack):
    return pack_module("nodes.compat").make


class TestKeywords:
    def test_cosmetic_ones_are_left_out_if_unknown(self, make):
        assert make(OldInput, "steps", default=3, advanced=True).given == {
            "name": "steps",
            "default": 3,
            "tooltip": None,
        }
        schema = make(OldSchema, node_id="A", category="b", search_aliases=["c"], essentials_category="d")
        assert schema.given == {"node_id": "A", "category": "b"}

    def test_cosmetic_ones_are_used_if_known(self, make):
        assert make(NewInput, "steps", advanced=True).given["advanced"] is True

    def test_any_other_unknown_keyword_is_an_error(self, make):
        with pytest.raises(TypeError, match="defualt"):
            make(OldInput, "steps", defualt=3)


def test_no_output_is_called_like_an_input(pack):
    """Older ComfyUI versions refuse such a node, and with it the whole pack."""
    nodes = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
    assert len(nodes) >= 5
    for node in nodes:
        schema = node.define_schema()
        inputs, outputs = (
            {item.id for item in schema.inputs},
            {item.id for item in schema.outputs if item.id is not None},
        )
        assert not inputs & outputs, schema.node_id


def test_the_pack_s_own_vae_is_comfyui_s_pixel_space(pack):
    compat = pack_module("nodes.compat")
    theirs, ours = compat.pixel_vae(), compat.PixelVAE()
    if type(theirs) is type(ours):
        pytest.skip("this ComfyUI has no pixel-space VAE to compare with (before 0.3.60)")
    latent = 3 * torch.rand((2, 3, 32, 64), generator=torch.Generator().manual_seed(0)) - 1.5
    image = theirs.decode(latent)
    assert torch.allclose(ours.decode(latent), image, atol=1e-6)
    assert image.shape == (2, 32, 64, 3)
    assert torch.allclose(ours.encode(image), theirs.encode(image), atol=1e-6)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


WIRES = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent_image": ["demo", 4]}
COMMON = {**WIRES, "steps": 8, "cfg": 3.0, "scheduler": "karras"}
WHOLE = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 99, "return_with_leftover_noise": "disable"}


def pictures(server, nodes: dict[str, Any], latents: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Each latent as a picture, in one prompt."""
    prompt = {"demo": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=64, height=64, batch_size=1), **nodes}
    for name, latent in latents.items():
        prompt[f"{name}_decode"] = node("VAEDecode", samples=latent, vae=["demo", 3])
        prompt[f"{name}_save"] = node("SaveImage", images=[f"{name}_decode", 0], filename_prefix=name)
    outputs = server.run(prompt)
    return {
        name: np.asarray(
            Image.open(io.BytesIO(server.image(outputs[f"{name}_save"]["images"][0]))).convert("RGB")
        ).astype(int)
        for name in latents
    }


def test_a_picture_by_every_sampling_node(server):
    nodes = {
        "stock": node("KSampler", **COMMON, seed=1, sampler_name="erk_heun", denoise=1.0),
        "ksampler": node("KSamplerERKGuid", **COMMON, seed=1, solver="heun", denoise=1.0, mode="calibrated"),
        "advanced": node("KSamplerAdvancedERKGuid", **COMMON, **WHOLE, noise_seed=1, solver="heun", mode="calibrated"),
        "noise": node("RandomNoise", noise_seed=1),
        "guider": node("CFGGuider", model=["demo", 0], positive=["demo", 1], negative=["demo", 2], cfg=3.0),
        "erk": node("SamplerERKGuid", solver="heun", mode="calibrated"),
        "sigmas": node("BasicScheduler", model=["demo", 0], scheduler="karras", steps=8, denoise=1.0),
        "custom": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["erk", 0], sigmas=["sigmas", 0],
            latent_image=["demo", 4],
        ),
        "off": node("KSamplerERKGuid", **COMMON, seed=1, solver="heun", denoise=1.0, mode="off"),
        "heun": node("KSampler", **COMMON, seed=1, sampler_name="heun", denoise=1.0),
    }  # fmt: skip
    made = pictures(
        server, nodes, {name: [name, 0] for name in ("stock", "ksampler", "advanced", "custom", "off", "heun")}
    )
    assert made["stock"].std() > 20
    for name in ("ksampler", "advanced", "custom"):
        assert np.array_equal(made[name], made["stock"]), name
    assert np.abs(made["off"] - made["heun"]).max() <= 1
    assert not np.array_equal(made["off"], made["stock"])


def test_the_plot(server):
    prompt = {
        "demo": node("DemoModelERKGuid", kind="flow", pictures="arcs", width=64, height=64, batch_size=1),
        "sampler": node("KSamplerERKGuid", **COMMON, seed=1, solver="deis", denoise=1.0, mode="calibrated"),
        "plot": node("StiffnessVisualizerERKGuid", trace=["sampler", 1]),
        "save": node("SaveImage", images=["plot", 0], filename_prefix="plot"),
        "show": node("PreviewAny", source=["plot", 1]),
    }
    outputs = server.run(prompt)
    plot = np.asarray(Image.open(io.BytesIO(server.image(outputs["save"]["images"][0]))))
    assert plot.shape[:2] == (800, 1120) and plot.std() > 10
    assert len(json.loads(outputs["show"]["text"][0])["steps"]) == 8


def test_the_log_has_no_complaint_about_loading_the_pack(server):
    """The log also holds errors that other tests' prompts cause on purpose."""
    complaints = [
        line
        for line in server.log
        if "ERK" in line and any(word in line for word in ("FAILED", "Cannot import", "Unable"))
    ]
    assert not complaints
