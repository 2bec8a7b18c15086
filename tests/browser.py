"""ComfyUI's page in a headless Chromium, as a person has it before them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.comfyui import Server

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
PACK_PATH = "/extensions/ComfyUI-ERK-Guid/"


def missing(what: str) -> None:
    """Skip, saying why; or fail where the tests in the page must run."""
    text = f"the tests in the page need {what}"
    if os.environ.get("ERK_GUID_REQUIRE_BROWSER") == "1":
        pytest.fail(text)
    pytest.skip(text)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A running browser. Chromium is the one on PATH, or the one named by ERK_GUID_CHROMIUM."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright (pip install -r requirements-dev.txt)")
    named = os.environ.get("ERK_GUID_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if path is None or not Path(path).exists():
        missing(f"Chromium (on PATH, or named by ERK_GUID_CHROMIUM; found: {path})")
    with sync_playwright() as playwright:
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if as_root else [])
        try:
            yield browser
        finally:
            browser.close()


class ComfyPage:
    """A page of a server, with what the tests do and read there."""

    def __init__(self, browser: Any, server: Server, renderer: str) -> None:
        self.server = server
        self.renderer = renderer
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": 1500, "height": 950})
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error} {error.stack}"))
        # Before the page is opened, so that it asks nothing of a new user.
        self.settings = {
            "Comfy.TutorialCompleted": True,
            "Comfy.VueNodes.Enabled": renderer == "nodes2",
            "Comfy.ColorPalette": "dark",
            "Comfy.Minimap.Visible": False,
            "Comfy.Execution.PreviewMethod": "none",
        }
        server.post("/settings", self.settings)
        self.open()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    @property
    def own_errors(self) -> list[str]:
        """Errors and warnings in the console that are this pack's."""
        return [error for error in self.errors if PACK_PATH in error or "erk" in error.lower()]

    def open(self) -> None:
        self.page.goto(self.server.address)
        self.page.wait_for_function("!!(window.LiteGraph?.registered_node_types?.KSampler && window.app?.extensionManager)", timeout=60_000)
        self.page.wait_for_function("!!window.app.api.clientId && !!window.app.graph", timeout=60_000)
        self.run(
            """() => {
                window.erkMessages = [];
                app.api.addEventListener('erk_guid.step', ({detail}) => window.erkMessages.push(detail));
            }"""
        )

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def setting(self, name: str, value: Any) -> None:
        self.run("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def load(self, graph: dict[str, Any]) -> None:
        """A saved workflow."""
        self.run("graph => app.loadGraphData(graph, true, true, null)", graph)
        self.settle()

    def load_prompt(self, prompt: dict[str, Any]) -> None:
        """A prompt in API format, as a graph."""
        self.run(
            """async (prompt) => {
                await app.loadApiJson(prompt, 'test');
                for (const node of app.rootGraph.nodes)
                    for (const widget of node.widgets ?? [])
                        if (widget.name === 'control_after_generate') widget.value = 'fixed';
                app.rootGraph.arrange();
                app.canvas.ds.scale = 0.4;
                app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 150;
                app.canvas.setDirty(true, true);
            }""",
            prompt,
        )
        self.settle()

    def settle(self) -> None:
        """Let the page lay itself out."""
        self.page.wait_for_timeout(700)

    def set_widget(self, node: int, name: str, value: Any) -> None:
        self.run(
            "([id, name, value]) => { app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === name).value = value; }",
            [node, name, value],
        )

    def start(self) -> None:
        self.run(
            """() => {
                window.erkMessages.length = 0;
                window.done = new Promise((resolve) => {
                    for (const type of ['execution_success', 'execution_error', 'execution_interrupted']) {
                        app.api.addEventListener(type, ({detail}) => resolve({type, ...detail}), {once: true});
                    }
                });
                return app.queuePrompt(0, 1);
            }"""
        )

    def wait(self) -> dict[str, Any]:
        done = self.run("() => window.done")
        self.settle()
        return done

    def queue(self) -> dict[str, Any]:
        """Queue what is on the page and wait; returns the history's outputs by node id."""
        self.start()
        done = self.wait()
        assert done["type"] == "execution_success", done
        return self.server.wait(done["prompt_id"])["outputs"]

    def messages(self) -> list[dict[str, Any]]:
        return self.run("() => window.erkMessages")

    def chart(self, node: int | str) -> dict[str, Any] | None:
        """What the chart of a node has drawn; None where the node has no chart."""
        return self.run(
            """(path) => {
                let graph = app.rootGraph, node;
                for (const id of String(path).split(':')) { node = graph.getNodeById(id); graph = node?.subgraph; }
                const element = node?.widgets?.find((widget) => widget.type === 'ERK_GUID_LIVE')?.element;
                if (!element?.chart) return null;
                const {points, previous, threshold, title, progress, legend} = element.chart;
                const marks = [...element.querySelectorAll('[data-step]')]
                    .map((mark) => [Number(mark.dataset.step), mark.classList[0]]);
                const box = element.getBoundingClientRect();
                return {points, previous, threshold, title, progress, legend: legend.map((entry) => entry.text), marks,
                    visible: element.isConnected && element.checkVisibility(), box: [box.x, box.y, box.width, box.height]};
            }""",
            node,
        )

    def elements(self) -> int:
        """Charts anywhere in the document."""
        return self.page.locator(".erk-guid-live").count()

    def saved(self) -> dict[str, Any]:
        return json.loads(self.run("() => JSON.stringify(app.rootGraph.serialize())"))

    def look_at(self, node: int, scale: float = 1.0) -> None:
        self.run(
            """([id, scale]) => {
                const node = app.canvas.graph.getNodeById(id);
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset[0] = 120 / scale - node.pos[0];
                app.canvas.ds.offset[1] = 120 / scale - node.pos[1];
                app.canvas.setDirty(true, true);
            }""",
            [node, scale],
        )
        self.settle()

    def picture(self, name: str) -> None:
        """A screenshot, where ERK_GUID_SCREENSHOTS names a folder for them."""
        folder = os.environ.get("ERK_GUID_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}_{self.renderer}.png"))


def expected_points(trace: dict[str, Any]) -> list[tuple[int, float, float | None, bool]]:
    """What a chart of a trace's JSON must show: step, sigma, median stiffness, corrected or not."""
    points = []
    for step in trace["steps"]:
        known = [value for value in step["stiffness"] if value is not None]
        points.append((step["index"], step["sigma"], statistics.median(known) if known else None, any(step["active"])))
    return points


def drawn_points(chart: dict[str, Any], which: str = "points") -> list[tuple[int, float, float | None, bool]]:
    return [(point["step"], point["sigma"], point["value"], point["guided"]) for point in chart[which]]
