"""Writes examples_workflows/ from short descriptions: `python -m devtools.workflows` (through a running ComfyUI).

The node inputs, their order and their types come from the server's /object_info, so that a workflow
always fits the nodes; the pictures beside them are what the workflows made.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from .comfyui import ROOT, Server, serve

FOLDER = ROOT / "examples_workflows"
_WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@dataclass(frozen=True)
class Node:
    """A node of a graph: where it stands, and its inputs; ("key", output name) is a link."""

    key: str
    type: str
    pos: tuple[int, int]
    size: tuple[int, int]
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True)
class Workflow:
    name: str
    nodes: tuple[Node, ...]
    picture: str
    """Key of the SaveImage node whose picture is the template's."""


def note(key: str, pos: tuple[int, int], size: tuple[int, int], text: str) -> Node:
    return Node(key, "MarkdownNote", pos, size, {"text": text})


_DEMO = Node(
    "demo", "DemoModelERKGuid", (40, 140), (300, 230),
    {"kind": "eps", "pictures": "arcs", "width": 384, "height": 384, "batch_size": 4},
)  # fmt: skip

WORKFLOWS = (
    Workflow(
        "erk_guid_demo",
        (
            note(
                "note", (40, -140), (620, 240),
                "## ERK-Guid in one graph, without any download\n\n"
                "**Demo Model** stands for a checkpoint: its pictures are mosaics whose exact denoiser is known.\n\n"
                "1. Queue. **KSampler (ERK-Guid)** samples; the plot shows the stiffness at each step and the correction.\n"
                "2. Set *mode* to *off* and queue again: the same solver without the correction.\n"
                "3. Lower *steps* to 8: the larger the steps, the more there is to correct.\n\n"
                "To use your own model, put **Load Checkpoint** in the demo model's place.",
            ),
            _DEMO,
            Node(
                "sampler", "KSamplerERKGuid", (400, 140), (320, 420),
                {
                    "model": ("demo", "MODEL"), "seed": 7, "steps": 16, "cfg": 3.0, "solver": "heun", "scheduler": "karras",
                    "positive": ("demo", "positive"), "negative": ("demo", "negative"), "latent_image": ("demo", "LATENT"),
                    "denoise": 1.0,
                },
            ),
            Node("decode", "VAEDecode", (780, 140), (200, 50), {"samples": ("sampler", "LATENT"), "vae": ("demo", "VAE")}),
            Node("save", "SaveImage", (780, 250), (420, 460), {"images": ("decode", "IMAGE"), "filename_prefix": "erk_guid_demo"}),
            Node("plot", "StiffnessVisualizerERKGuid", (1240, 140), (560, 900), {"trace": ("sampler", "trace")}),
            Node(
                "save_plot", "SaveImage", (1840, 140), (420, 400),
                {"images": ("plot", "plot"), "filename_prefix": "erk_guid_demo_stiffness"},
            ),
        ),
        picture="save",
    ),
    Workflow(
        "erk_guid_custom_sampler",
        (
            note(
                "note", (40, -140), (620, 240),
                "## ERK-Guid in a custom sampling graph\n\n"
                "**Sampler ERK-Guid** gives a SAMPLER for SamplerCustom and SamplerCustomAdvanced, with any guider and any sigmas. "
                "Here: a flow model, DEIS, the simple schedule.\n\n"
                "The visualizer needs the sampler's *latent* as well: the trace is filled only when the sampler runs.",
            ),
            Node(
                "demo", "DemoModelERKGuid", (40, 140), (300, 230),
                {"kind": "flow", "pictures": "circuit", "width": 384, "height": 384, "batch_size": 4},
            ),
            Node("noise", "RandomNoise", (400, 140), (300, 90), {"noise_seed": 3}),
            Node(
                "guider", "CFGGuider", (400, 280), (300, 110),
                {"model": ("demo", "MODEL"), "positive": ("demo", "positive"), "negative": ("demo", "negative"), "cfg": 3.0},
            ),
            Node("erk", "SamplerERKGuid", (400, 440), (300, 200), {"solver": "deis"}),
            Node(
                "sigmas", "BasicScheduler", (400, 690), (300, 120),
                {"model": ("demo", "MODEL"), "scheduler": "simple", "steps": 16, "denoise": 1.0},
            ),
            Node(
                "sampler", "SamplerCustomAdvanced", (760, 140), (320, 340),
                {
                    "noise": ("noise", "NOISE"), "guider": ("guider", "GUIDER"), "sampler": ("erk", "SAMPLER"),
                    "sigmas": ("sigmas", "SIGMAS"), "latent_image": ("demo", "LATENT"),
                },
            ),
            Node("decode", "VAEDecode", (760, 540), (200, 50), {"samples": ("sampler", "output"), "vae": ("demo", "VAE")}),
            Node("save", "SaveImage", (760, 640), (420, 460), {"images": ("decode", "IMAGE"), "filename_prefix": "erk_guid_custom"}),
            Node(
                "plot", "StiffnessVisualizerERKGuid", (1240, 140), (560, 900),
                {"trace": ("erk", "trace"), "latent": ("sampler", "output")},
            ),
            Node(
                "save_plot", "SaveImage", (1840, 140), (420, 400),
                {"images": ("plot", "plot"), "filename_prefix": "erk_guid_custom_stiffness"},
            ),
        ),
        picture="save",
    ),
)  # fmt: skip


def ui_graph(workflow: Workflow, object_info: dict[str, Any]) -> dict[str, Any]:
    """The workflow as ComfyUI's page saves it."""
    ids = {node.key: number for number, node in enumerate(workflow.nodes, start=1)}
    types = {node.key: node.type for node in workflow.nodes}
    links: list[list[Any]] = []
    nodes = []
    for order, node in enumerate(workflow.nodes):
        info = object_info.get(node.type)
        inputs, widgets = [], []
        if info is None:
            widgets = list(node.inputs.values())
        else:
            declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
            unknown = set(node.inputs) - set(declared)
            if unknown:
                raise ValueError(f"{workflow.name}: {node.type} has no input {unknown}")
            for name, (kind, *rest) in declared.items():
                options = rest[0] if rest else {}
                choices = kind if isinstance(kind, list) else options.get("options")
                kind = "COMBO" if isinstance(kind, list) else kind
                is_widget = kind in _WIDGET_TYPES and not options.get("forceInput")
                value = node.inputs.get(name)
                entry: dict[str, Any] = {"name": name, "type": kind, "link": None}
                if is_widget:
                    entry["widget"] = {"name": name}
                    widgets.append(value if value is not None else options.get("default", choices[0] if choices else None))
                    if options.get("control_after_generate"):
                        widgets.append("fixed")
                elif value is not None:
                    source, output = value
                    slot = object_info[types[source]]["output_name"].index(output)
                    link = len(links) + 1
                    links.append([link, ids[source], slot, ids[node.key], len(inputs), kind])
                    entry["link"] = link
                inputs.append(entry)
        outputs = [
            {"name": name, "type": kind, "links": []}
            for name, kind in zip(info["output_name"], info["output"], strict=True)
        ] if info else []  # fmt: skip
        nodes.append(
            {
                "id": ids[node.key], "type": node.type, "pos": list(node.pos), "size": list(node.size), "flags": {},
                "order": order, "mode": 0, "inputs": inputs, "outputs": outputs,
                "properties": {"Node name for S&R": node.type}, "widgets_values": widgets,
                **({"title": node.title} if node.title else {}),
            }
        )  # fmt: skip
    for link, source, slot, *_ in links:
        nodes[source - 1]["outputs"][slot]["links"].append(link)
    return {
        "id": f"00000000-0000-4000-8000-{sum(map(ord, workflow.name)):012d}",
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def to_prompt(graph: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """A saved graph as the HTTP API takes it."""
    from comfy_cli.workflow_to_api import convert_ui_to_api

    return convert_ui_to_api(graph, object_info)


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _write(workflow: Workflow, server: Server, object_info: dict[str, Any]) -> None:
    from PIL import Image

    graph = ui_graph(workflow, object_info)
    (FOLDER / f"{workflow.name}.json").write_text(json.dumps(graph, indent=1) + "\n")
    outputs = server.run(to_prompt(graph, object_info))
    saved = str(1 + [node.key for node in workflow.nodes].index(workflow.picture))
    pictures = [Image.open(io.BytesIO(server.image(image))) for image in outputs[saved]["images"][:4]]
    side = pictures[0].width
    sheet = Image.new("RGB", (2 * side, 2 * side))
    for i, picture in enumerate(pictures):
        sheet.paste(picture.convert("RGB"), (side * (i % 2), side * (i // 2)))
    sheet.resize((512, 512), Image.Resampling.LANCZOS).save(FOLDER / f"{workflow.name}.jpg", quality=88)
    print(workflow.name)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with serve() as server:
        object_info = server.get("/object_info")
        for workflow in WORKFLOWS:
            _write(workflow, server, object_info)
    return 0


if __name__ == "__main__":
    sys.exit(main())
