"""Writes examples_workflows/ from their descriptions: `python -m devtools.make.workflows [NAME ...]`.

COMFYUI_PATH must be set. The picture of a workflow that runs without model files is its own result. The picture of any
other workflow shows its graph in ComfyUI's page. devtools/page.py says what that needs.
"""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from ..comfyui import ROOT, Server, serve
from ..page import Page, chromium
from .examples import WORKFLOWS
from .workflow_graph import Workflow, ui_graph

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FOLDER", "WORKFLOWS", "Workflow", "load", "titles", "to_prompt", "ui_graph"]

FOLDER = ROOT / "examples_workflows"
SIDE = 400
"""Side of the pictures in pixels. They are square, like the templates' cards."""


def titles() -> str:
    """titles.txt: what Browse Templates shows for each file, in its order."""
    return "".join(f"{workflow.name}: {workflow.caption} (ERK-Guid)\n" for workflow in WORKFLOWS)


def to_prompt(graph: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """A saved graph in the form that the HTTP API accepts."""
    from comfy_cli.workflow_to_api import convert_ui_to_api

    return convert_ui_to_api(graph, object_info)


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def model_files(graph: dict[str, Any]) -> list[dict[str, str]]:
    """The files that a saved graph needs, each {"name", "url", "directory"}."""
    return [file for node in graph["nodes"] for file in node["properties"].get("models", [])]


def sheet(workflow: Workflow, pictures: dict[str, list[Image]]) -> Image:
    """One square picture of a workflow's results, which are given by the key of the node that shows them.

    Results of one node: its first picture, on white if it is not square. Of two nodes: the second node's picture, with
    the first node's picture, from which it started, in the corner.
    """
    from PIL import Image, ImageOps

    groups = [pictures[key] for key in workflow.pictures]
    if len(groups) == 1:
        return ImageOps.pad(groups[0][0], (SIDE, SIDE), Image.Resampling.LANCZOS, color="white")
    start, result = (group[0] for group in groups)
    square = result.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small = SIDE // 3
    square.paste("white", (0, SIDE - small - 4, small + 4, SIDE))
    square.paste(start.resize((small, small), Image.Resampling.LANCZOS), (0, SIDE - small))
    return square


def results(server: Server, workflow: Workflow, outputs: dict[str, Any]) -> dict[str, list[Image]]:
    """The pictures that a run made, by the key of their node."""
    from PIL import Image

    ids = {node.key: str(number) for number, node in enumerate(workflow.nodes, start=1)}
    return {
        key: [Image.open(io.BytesIO(server.image(file))).convert("RGB") for file in outputs[ids[key]]["images"]]
        for key in workflow.pictures
    }


def _graph_picture(page: Page, workflow: Workflow, graph: dict[str, Any]) -> Image:
    """The graph up to its sampler, under the model's name, because there is no result without the model."""
    from PIL import Image, ImageDraw, ImageFont

    head = 76
    page.load(graph, workflow.name)
    whole = page.graph_picture()
    part = whole.crop((0, 0, round(whole.height * SIDE / (SIDE - head)), whole.height))
    square = Image.new("RGB", (SIDE, SIDE), (24, 26, 30))
    square.paste(part.resize((SIDE, SIDE - head), Image.Resampling.LANCZOS), (0, head))
    draw = ImageDraw.Draw(square)
    draw.text((14, 10), workflow.caption, font=ImageFont.load_default(32), fill=(240, 240, 240))
    draw.text(
        (14, 50), "the graph; the result needs the model's files", font=ImageFont.load_default(15), fill=(150, 160, 175)
    )
    return square


def _save_picture(workflow: Workflow, picture: Image) -> None:
    """Save the picture as well as 55 kB allow, because everybody who clones the pack also downloads its pictures."""
    for quality in (88, 80, 70, 60):
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() <= 55_000:
            break
    (FOLDER / f"{workflow.name}.jpg").write_bytes(data.getvalue())


def main(names: list[str]) -> int:
    chosen = [workflow for workflow in WORKFLOWS if not names or workflow.name in names]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "titles.txt").write_text(titles(), encoding="utf-8")
    with serve() as server:
        object_info = server.get("/object_info")
        graphs = [(workflow, ui_graph(workflow, object_info)) for workflow in chosen]
        for workflow, graph in graphs:
            (FOLDER / f"{workflow.name}.json").write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")
            if workflow.pictures:
                _save_picture(
                    workflow, sheet(workflow, results(server, workflow, server.run(to_prompt(graph, object_info))))
                )
            # Create empty files with the right names, so that the page does not mark them as missing in the pictures.
            for file in model_files(graph):
                path = server.base / "models" / file["directory"] / file["name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        with chromium() as browser:
            page = Page(browser, server)
            for workflow, graph in graphs:
                if not workflow.pictures:
                    _save_picture(workflow, _graph_picture(page, workflow, graph))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
