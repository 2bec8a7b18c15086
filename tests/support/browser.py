"""ComfyUI's page in a headless Chromium, with the tests' actions and checks."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.comfyui import Server
from devtools.page import NoBrowserError, Page, Renderer, chromium

PACK_PATH = "/extensions/ComfyUI-ERK-Guid/"


@contextlib.contextmanager
def a_browser() -> Iterator[Any]:
    """A running browser. Without one the test is skipped with a reason, or fails if the tests in the page must run."""
    try:
        with chromium() as running:
            yield running
    except NoBrowserError as error:
        text = f"the tests in the page: {error}"
        if os.environ.get("ERK_GUID_REQUIRE_BROWSER") == "1":
            pytest.fail(text)
        pytest.skip(text)


class ComfyPage(Page):
    """A page of a server that keeps the messages of the live chart."""

    def __init__(self, browser: Any, server: Server, renderer: Renderer) -> None:
        super().__init__(browser, server, renderer, (1500, 950))

    @property
    def own_errors(self) -> list[str]:
        """Errors and warnings in the console that are this pack's."""
        return [error for error in self.errors if PACK_PATH in error or "erk" in error.lower()]

    def open(self) -> None:
        super().open()
        self.run(
            """() => {
                window.erkMessages = [];
                app.api.addEventListener('erk_guid.step', ({detail}) => window.erkMessages.push(detail));
            }"""
        )

    def setting(self, name: str, value: Any) -> None:
        self.run("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def load_prompt(self, prompt: dict[str, Any], workflow: str | None = None) -> None:
        """A prompt in API format as a graph, or as a saved workflow if an id is given."""
        self.run(
            """async ([prompt, id]) => {
                await app.loadApiJson(prompt, 'test');
                for (const node of app.rootGraph.nodes)
                    for (const widget of node.widgets ?? [])
                        if (widget.name === 'control_after_generate') widget.value = 'fixed';
                app.rootGraph.arrange();
                const graph = JSON.parse(JSON.stringify(app.rootGraph.serialize()));
                if (id) await app.loadGraphData({...graph, id}, true, true, id);
                app.canvas.ds.scale = 0.4;
                app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 150;
                app.canvas.setDirty(true, true);
            }""",
            [prompt, workflow],
        )
        self.settle()

    def set_widget(self, node: int, name: str, value: Any) -> None:
        self.run(
            "([id, name, value]) => { app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === "
            "name).value = value; }",
            [node, name, value],
        )

    def widget(self, node: int, name: str) -> Any:
        return self.run(
            "([id, name]) => app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === name).value",
            [node, name],
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
        """Queue the graph on the page and wait. Returns the history's outputs by node id."""
        self.start()
        done = self.wait()
        assert done["type"] == "execution_success", done
        return self.server.wait(done["prompt_id"])["outputs"]

    def messages(self) -> list[dict[str, Any]]:
        return self.run("() => window.erkMessages")

    def chart(self, node: int | str) -> dict[str, Any] | None:
        """What the chart of a node has drawn, or None if the node has no chart."""
        return self._drawn(
            """(path) => {
                let graph = app.rootGraph, node;
                for (const id of String(path).split(':')) { node = graph.getNodeById(id); graph = node?.subgraph; }
                return node?.widgets?.find((widget) => widget.type === 'ERK_GUID_LIVE')?.element;
            }""",
            node,
        )

    def chart_outside(self, node: int | str) -> dict[str, Any] | None:
        """What the chart of a subgraph node of the displayed graph has drawn, or None if there is none."""
        return self._drawn(
            """(id) => document.querySelector(`.erk-guid-live-under[data-under="${id}"]`)
                ?? app.canvas.graph.getNodeById(id)?.widgets?.find((one) => one.type === 'ERK_GUID_LIVE')?.element""",
            node,
        )

    def height(self, node: int | str) -> float:
        """Of a node of the displayed graph, as a person sees it. On newer pages its size says nothing of that."""
        return self.run(
            """(id) => document.querySelector(`[data-node-id="${id}"]`)?.offsetHeight
                ?? app.canvas.graph.getNodeById(id).size[1]""",
            node,
        )

    def _drawn(self, find: str, argument: Any) -> dict[str, Any] | None:
        return self.run(
            f"""(argument) => {{
                const element = ({find})(argument);
                if (!element?.chart) return null;
                const {{view, points, previous, threshold, limit, title, progress, legend}} = element.chart;
                const marks = [...element.querySelectorAll('[data-step]')]
                    .map((mark) => [Number(mark.dataset.step), mark.classList[0]]);
                const box = element.getBoundingClientRect();
                const note = element.querySelector('.erk-guid-note');
                return {{view, points, previous, threshold, limit, title: title.text, progress, marks,
                    legend: legend.map((entry) => entry.text), note: note.hidden ? '' : note.textContent,
                    visible: element.isConnected && element.checkVisibility(),
                    box: [box.x, box.y, box.width, box.height]}};
            }}""",
            argument,
        )

    def elements(self) -> int:
        """Charts anywhere in the document, as far as there is something drawn in them."""
        return self.page.locator(".erk-guid-live:has(svg)").count()

    def visible_elements(self) -> int:
        """Of them, those in the graph on display."""
        return self.page.locator(".erk-guid-live:has(svg)").filter(visible=True).count()

    def note(self, node: int) -> str:
        """What a node of the root graph says below its chart, or where it will be."""
        return self.run(
            """(id) => {
                const widget = app.rootGraph.getNodeById(id).widgets.find((widget) => widget.type === 'ERK_GUID_LIVE');
                const note = widget.element.querySelector('.erk-guid-note');
                return note.hidden ? '' : note.textContent;
            }""",
            node,
        )

    def size(self, node: int) -> list[float]:
        return self.run("(id) => [...app.rootGraph.getNodeById(id).size]", node)

    def saved(self) -> dict[str, Any]:
        return json.loads(self.run("() => JSON.stringify(app.rootGraph.serialize())"))

    def look_at(self, node: int | str, scale: float = 1.0) -> None:
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

    def picture(self, name: str, whole_graph: bool = False) -> None:
        """Save a screenshot or the whole graph, if ERK_GUID_SCREENSHOTS names a folder for them."""
        folder = os.environ.get("ERK_GUID_SCREENSHOTS")
        if not folder:
            return
        path = Path(folder) / f"{name}_{self.renderer}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if whole_graph:
            self.graph_picture().save(path)
        else:
            self.page.screenshot(path=str(path))


def expected_points(
    trace: dict[str, Any], quantity: str = "h_stiffness"
) -> list[tuple[int, float, float | None, bool]]:
    """What a chart of a trace's JSON must show: step, sigma, median of the quantity, corrected or not."""
    points = []
    for step in trace["steps"]:
        known = [value for value in step[quantity] if value is not None]
        points.append((step["index"], step["sigma"], statistics.median(known) if known else None, any(step["active"])))
    return points


def drawn_points(chart: dict[str, Any], which: str = "points") -> list[tuple[int, float, float | None, bool]]:
    steps = [(point["step"], point["value"]) for point in chart[which]]
    return [(step["step"], step["sigma"], value, step["active"]) for step, value in steps]
