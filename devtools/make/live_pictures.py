"""Makes the pictures of the live chart in ComfyUI's page: `python -m devtools.make.live_pictures`.

COMFYUI_PATH must be set.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from ..comfyui import ROOT, Server, serve
from ..page import Page, Renderer, chromium
from .workflows import load

PICTURES: dict[Renderer, tuple[str, ...]] = {
    "classic": ("docs/images/live_chart_dark.png", "js/docs/images/live_chart.png"),
    "nodes2": ("docs/images/live_chart_nodes2.png",),
}
_RUN = """() => new Promise((resolve) => {
    app.api.addEventListener('execution_success', () => setTimeout(resolve, 1500), {once: true});
    app.queuePrompt(0, 1);
})"""


def _graph() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The demo workflow with its sampler and its visualizer side by side, then these two nodes."""
    graph = load("erk_guid_demo")
    sampler, visualizer = (
        next(node for node in graph["nodes"] if node["type"] == kind)
        for kind in ("KSamplerERKGuid", "StiffnessVisualizerERKGuid")
    )
    for node in graph["nodes"]:
        if node not in (sampler, visualizer):
            node["pos"] = [node["pos"][0] - 3000, node["pos"][1]]
    graph["groups"] = []
    sampler["size"] = [420, 600]
    visualizer["pos"] = [sampler["pos"][0] + 480, sampler["pos"][1]]
    visualizer["size"] = [620, 940]
    return graph, sampler, visualizer


def picture(server: Server, browser: Any, renderer: Renderer) -> Any:
    """A picture of two runs, the second with more steps, and with the pointer on one of its points."""
    from PIL import Image

    page = Page(browser, server, renderer, (1500, 1300))
    graph, sampler, visualizer = _graph()
    page.load(graph)
    page.run(
        """([x, y]) => {
            app.canvas.ds.scale = 1.0;
            app.canvas.ds.offset[0] = 120 - x;
            app.canvas.ds.offset[1] = 140 - y;
            app.canvas.setDirty(true, true);
        }""",
        sampler["pos"],
    )
    for steps in (12, 16):
        page.run(
            "([id, steps]) => { app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === 'steps').value "
            "= steps; }",
            [sampler["id"], steps],
        )
        page.run(_RUN)
    # The page's notice about the finished run disappears after a while.
    page.page.wait_for_timeout(6000)
    mark = page.page.locator(".erk-guid-live [data-step='10']").first.bounding_box()
    page.page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    page.settle()
    height = max(node["size"][1] for node in page.nodes() if node["type"] in (sampler["type"], visualizer["type"]))
    clip = {"x": 60, "y": 100, "width": 1240, "height": min(height + 70, 1190)}
    data = page.page.screenshot(clip=clip)
    page.page.close()
    return Image.open(io.BytesIO(data)).convert("RGB")


def main() -> int:
    with serve() as server, chromium() as browser:
        for renderer, paths in PICTURES.items():
            made = picture(server, browser, renderer).quantize(256)
            for path in paths:
                made.save(ROOT / path, optimize=True)
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
