"""ComfyUI's real page in a headless Chromium, with either renderer. It shows how the page handles a graph.

It needs Playwright for Python, and a Chromium on PATH or at ERK_GUID_CHROMIUM.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from .comfyui import Server

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.ColorPalette": "dark",
    "Comfy.Execution.PreviewMethod": "none",
}
_READY = (
    "!!(window.app?.graph && app.extensionManager && app.api?.clientId"
    " && window.LiteGraph?.registered_node_types?.KSampler)"
)

Renderer = Literal["classic", "nodes2"]


class NoBrowserError(Exception):
    """There is no browser. The text says what is missing."""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A running browser. Raises NoBrowserError if there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError("Playwright is missing: pip install -r requirements-dev.txt") from None
    path = os.environ.get("ERK_GUID_CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUMS)), None)
    if path is None or not Path(path).exists():
        raise NoBrowserError(f"There is no Chromium on PATH or at ERK_GUID_CHROMIUM ({path})")
    with sync_playwright() as playwright:
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if as_root else [])
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """ComfyUI's page of a running server, as a person sees it.

    `errors` keeps the errors and warnings of its console.
    """

    def __init__(
        self, browser: Any, server: Server, renderer: Renderer = "classic", size: tuple[int, int] = (2400, 1400)
    ) -> None:
        self.server = server
        self.renderer = renderer
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error} {error.stack}"))
        # Set these before the page opens, so that it does not ask a new user anything. The server keeps them, so they
        # also hold for later pages.
        server.post("/settings", {**_SETTINGS, "Comfy.VueNodes.Enabled": renderer == "nodes2"})
        self.open()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def open(self) -> None:
        """Load the page, or load it again."""
        self.page.goto(self.server.address)
        self.page.wait_for_function(_READY, timeout=120_000)
        self.page.wait_for_timeout(1000)

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def settle(self) -> None:
        """Wait until the page has finished its layout."""
        self.page.wait_for_timeout(700)

    def load(self, graph: dict[str, Any], name: str | None = None) -> None:
        """Load a saved workflow."""
        self.run("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, name])
        self.settle()

    def to_prompt(self) -> dict[str, Any]:
        return self.run("async () => (await app.graphToPrompt()).output")

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the page has laid them out: id, type, whether the page knows the type, position, size."""
        return self.run(
            """() => app.rootGraph.nodes.map((node) => ({
                id: node.id, type: node.type, known: node.type in LiteGraph.registered_node_types,
                pos: [...node.pos], size: [...node.size], needs: [...node.computeSize()],
            }))"""
        )

    def graph_picture(self, margin: int = 30) -> Any:
        """The whole graph as it looks on the page, as a PIL image."""
        from PIL import Image

        x, y, width, height = self.run(
            """(margin) => {
                let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
                const boxes = [
                    ...app.rootGraph.groups.map((group) => [...group.pos, ...group.size]),
                    ...app.rootGraph.nodes.map(
                        ({pos, size}) => [pos[0], pos[1] - 30, size[0], size[1] + 30]
                    ),
                ];
                for (const [x, y, width, height] of boxes) {
                    [left, top] = [Math.min(left, x - margin), Math.min(top, y - margin)];
                    [right, bottom] = [Math.max(right, x + width + margin), Math.max(bottom, y + height + margin)];
                }
                // Leave room for the page's own bars.
                const [side_bar, top_bar, bottom_bar] = [80, 110, 70];
                const high = innerHeight - top_bar - bottom_bar;
                const scale = Math.min((innerWidth - side_bar) / (right - left), high / (bottom - top));
                const canvas = app.canvas, box = canvas.canvas.getBoundingClientRect();
                canvas.ds.scale = scale;
                canvas.ds.offset[0] = -left + (side_bar - box.x) / scale;
                canvas.ds.offset[1] = -top + (top_bar - box.y) / scale;
                canvas.setDirty(true, true);
                return [side_bar, top_bar, (right - left) * scale, (bottom - top) * scale];
            }""",
            margin,
        )
        self.page.wait_for_timeout(500)
        data = self.page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
        return Image.open(io.BytesIO(data)).convert("RGB")
