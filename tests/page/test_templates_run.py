"""Each template, run in ComfyUI's page with both renderers, on small models under the names of the real files.

The models are real architectures with random weights, loaded by ComfyUI's own loaders. Only the text encoders are
stand-ins, since none is small. So the pictures are noise, but every node of a graph does its work, and the layout is
that after a run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tiny_models
from browser import ComfyPage, a_browser
from test_workflows import NAMES, Box, boxes_of, overlapping
from tiny_models import Architecture, architecture

from devtools.comfyui import serve
from devtools.make.workflows import load, model_files

STAND_INS = Path(tiny_models.__file__).parent / "stand_ins"
NETWORKS = {
    "v1-5-pruned-emaonly-fp16": "sd15", "sd_xl_base_1.0": "sdxl", "sd3.5_large_fp8_scaled": "sd3",
    "sd3.5_medium_incl_clips_t5xxlfp8scaled": "sd3", "flux1-dev": "flux", "PixArt-Sigma-XL-2-1024-MS": "pixart_sigma",
    "qwen_image_fp8_e4m3fn": "qwen_image", "z_image_bf16": "z_image", "z_image_turbo_bf16": "z_image",
    "wan2.2_ti2v_5B_fp16": "wan22", "wan2.2_t2v_high_noise_14B_fp8_scaled": "wan",
    "wan2.2_t2v_low_noise_14B_fp8_scaled": "wan",
}  # fmt: skip
ENCODERS = {"FLUX": "flux", "PIXART": "pixart_sigma", "QWEN_IMAGE": "qwen_image", "LUMINA2": "z_image", "WAN": "wan"}
"""By ComfyUI's name for the type of a text encoder."""
VAES = {"ae": (16, False), "sdxl_vae": (4, False), "qwen_image_vae": (16, True), "wan_2.1_vae": (16, True),
        "wan2.2_vae": (48, True)}  # fmt: skip
"""Channels, and whether for video."""
SHOWING = ("SaveImage", "PreviewImage", "PreviewAny", "SaveVideo", "StiffnessVisualizerERKGuid")
RENDERERS = ("classic", "nodes2")
SIDE, FRAMES = 64, 9
SIDES = {"PixArt-Sigma-XL-2-1024-MS": 288}
"""Of networks that need more."""
SHORT = ("erk_guid_sd15", "erk_guid_wan22_experts")
"""Those that the short selection runs, too: a checkpoint and a picture; single files and a video."""


def _stand_in_encoders(base: Path) -> None:
    texts = {name: architecture(what) for name, what in ENCODERS.items()}
    texts |= {f"{stem}.safetensors": architecture(what) for stem, what in NETWORKS.items()}
    folder = base / "custom_nodes" / STAND_INS.name
    shutil.copytree(STAND_INS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shapes = {name: dataclasses.asdict(what.conditioning) for name, what in texts.items()}
    (folder / "texts.json").write_text(json.dumps(shapes), encoding="utf-8")


@pytest.fixture(scope="module")
def stocked_server():
    with serve(prepare=_stand_in_encoders) as running:
        yield running


def _write(models: Path, directory: str, name: str) -> None:
    """A model file that a template names."""
    stem = name.removesuffix(".safetensors")
    if (models / directory / name).exists():
        return
    if directory == "text_encoders":
        (models / directory).mkdir(parents=True, exist_ok=True)
        (models / directory / name).touch()
    elif directory == "vae":
        tiny_models.write_vae(models, name, *VAES[stem])
    elif directory == "loras":
        tiny_models.write_wan_lora(models, name)
    else:
        what = architecture(NETWORKS[stem])
        tiny_models.write(models, _with_vae(what) if directory == "checkpoints" else what, name)


def _with_vae(what: Architecture) -> Architecture:
    weights = tiny_models.autoencoder(what.shape[0][1]).items()
    vae = {f"first_stage_model.{key}": lambda tensor=tensor: tensor for key, tensor in weights}
    return dataclasses.replace(
        what, loader="CheckpointLoaderSimple", beside={**what.beside, **vae}, prefix="model.diffusion_model."
    )


def _drawn_boxes(page: ComfyPage) -> list[Box]:
    """The nodes' boxes as the page draws them, in the graph's units."""
    if page.renderer == "classic":
        return boxes_of(page.nodes())
    return [
        tuple(box)
        for box in page.run(
            """() => {
                const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
                const x = (at) => (at - canvas.left) / scale - offset[0];
                const y = (at) => (at - canvas.top) / scale - offset[1];
                return [...document.querySelectorAll('[data-node-id]')].map((element) => {
                    const box = element.getBoundingClientRect();
                    return [x(box.left), y(box.top), x(box.right), y(box.bottom)];
                });
            }"""
        )
    ]


def _is_framed(box: Box, groups: list[dict]) -> bool:
    """Whether a node lies in a group, give or take a pixel."""
    frames = [(x - 2, y - 2, x + width + 2, y + height + 2) for x, y, width, height in
              (group["bounding"] for group in groups)]  # fmt: skip
    return any(x <= box[0] and y <= box[1] and box[2] <= x2 and box[3] <= y2 for x, y, x2, y2 in frames)


def _make_small(page: ComfyPage, graph: dict, side: int) -> None:
    """Small latents, about as wide as they were for their height."""
    for node in graph["nodes"]:
        if node["type"].startswith("Empty") or node["type"] == "Wan22ImageToVideoLatent":
            width, height = node["widgets_values"][:2]
            page.set_widget(node["id"], "width", side * round(width / height))
            page.set_widget(node["id"], "height", side)
            if "length" in [slot["name"] for slot in node["inputs"]]:
                page.set_widget(node["id"], "length", FRAMES)


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHORT else [pytest.mark.long]) for name in NAMES]
)
def test_runs_and_nothing_overlaps(stocked_server, name, renderer):
    """Every node that shows something has it, none grew over another or out of its frame, and the console is clean."""
    graph = load(name)
    files = model_files(graph)
    for file in files:
        _write(stocked_server.base / "models", file["directory"], file["name"])
    with a_browser() as browser:
        page = ComfyPage(browser, stocked_server, renderer)
        page.load(graph, name)
        if files:
            _make_small(page, graph, max(SIDES.get(file["name"].removesuffix(".safetensors"), SIDE) for file in files))
        for node in graph["nodes"]:  # with the same seed, nothing would run for the second renderer
            for seed in {slot["name"] for slot in node["inputs"] if slot["link"] is None} & {"seed", "noise_seed"}:
                page.set_widget(node["id"], seed, RENDERERS.index(renderer))
        outputs = page.queue()
        page.page.wait_for_timeout(1500)  # pictures and videos arrive after the run
        assert {str(node["id"]) for node in graph["nodes"] if node["type"] in SHOWING} <= outputs.keys()
        samplers = [str(node["id"]) for node in graph["nodes"] if node["type"].startswith("KSampler")]
        assert set(samplers) <= {message["node"] for message in page.messages()}, "each has its chart"
        assert page.own_errors == []
        page.picture(f"ran_{name}", whole_graph=True)
        boxes = _drawn_boxes(page)
        assert len(boxes) == len(graph["nodes"]) and overlapping(boxes) == []
        assert sum(not _is_framed(box, graph["groups"]) for box in boxes) == 1, "only the note stands by itself"
        page.page.close()
