"""The Convergence Test in ComfyUI's real page, in both of its renderers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from browser import ComfyPage, a_browser
from PIL import Image

from devtools.make.workflows import load

NAME = "erk_guid_convergence_test"


@pytest.fixture(scope="module")
def browser():
    with a_browser() as running:
        yield running


@pytest.fixture(params=["classic", "nodes2"])
def comfy(request, browser, server):
    page = ComfyPage(browser, server, request.param)
    yield page
    assert page.own_errors == []
    page.page.close()


def loaded(comfy: ComfyPage, **widgets) -> int:
    """Load the template with other widget values. Returns the node's id."""
    graph = load(NAME)
    comfy.load(graph, NAME)
    (node,) = (entry["id"] for entry in graph["nodes"] if entry["type"] == "ConvergenceTestERKGuid")
    for name, value in widgets.items():
        comfy.set_widget(node, name, value)
    return node


def seed_of(comfy: ComfyPage, number: int) -> int:
    """Another one for each run, or ComfyUI's cache answers."""
    return 100 * number + ("classic", "nodes2").index(comfy.renderer)


def shown_pictures(comfy: ComfyPage, node: int) -> list[tuple[int, int]]:
    """Width and height of the pictures that the page shows on a node."""
    comfy.look_at(node, 0.7)
    comfy.page.wait_for_timeout(1500)
    return comfy.run(
        """async (id) => {
            const images = app.rootGraph.getNodeById(id).imgs ?? [];
            const drawn = document.querySelectorAll(`[data-node-id="${id}"] img`);
            return [...images, ...drawn].map((image) => [image.naturalWidth, image.naturalHeight]);
        }""",
        node,
    )


def size_of(comfy: ComfyPage, node: int) -> list[float]:
    return next(entry["size"] for entry in comfy.nodes() if str(entry["id"]) == str(node))


def test_the_template_runs_and_shows_plot_and_grid(comfy):
    node = loaded(comfy, seed=seed_of(comfy, 1), calls="4, 7", reference=20)
    before = size_of(comfy, node)
    outputs = comfy.queue()
    shown = outputs[str(node)]
    plot, grid = (
        np.asarray(Image.open(io.BytesIO(comfy.server.image(file))).convert("RGB")) for file in shown["images"]
    )
    assert plot.shape == (760, 1120, 3) and plot.std() > 10 and grid.std() > 10
    assert shown["text"][0].endswith(".") and " at " in shown["text"][0]
    assert comfy.chart(node) is None, "its many runs have no live chart"
    pictures = [tuple(size) for size in shown_pictures(comfy, node)]
    assert (1120, 760) in pictures and (grid.shape[1], grid.shape[0]) in pictures
    comfy.picture("convergence")
    assert size_of(comfy, node) == before, "the node keeps its size"
    # The table stands beside it, as text.
    (table,) = (value["text"] for key, value in outputs.items() if key != str(node) and "text" in value)
    assert table == [shown["text"][1]]


def test_previews_end_with_the_plot(comfy):
    """ComfyUI's page shows the last preview in front of a node's pictures."""
    comfy.setting("Comfy.Execution.PreviewMethod", "latent2rgb")
    try:
        node = loaded(comfy, seed=seed_of(comfy, 2), calls="4, 7", reference=20)
        comfy.queue()
        pictures = shown_pictures(comfy, node)
        assert pictures and {tuple(size) for size in pictures} == {(1120, 760)}
        comfy.picture("convergence_previews")
    finally:
        comfy.setting("Comfy.Execution.PreviewMethod", "none")


def test_interrupted(comfy):
    """What was finished is shown on the node."""
    node = loaded(comfy, seed=seed_of(comfy, 3), samplers="euler\nerk_heun", calls="4, 200", reference=20)
    comfy.run(
        """() => {
            window.shown = null;
            window.furthest = 0;
            app.api.addEventListener('executed', ({detail}) => { window.shown = detail; });
            app.api.addEventListener('progress', ({detail}) => { window.furthest = detail.value; });
        }"""
    )
    comfy.start()
    # The long run takes 200 and 400 calls, the runs of 4 calls take 4 and 3.
    comfy.page.wait_for_function("() => window.furthest > 615", timeout=240_000)
    comfy.run("() => app.api.interrupt(null)")
    assert comfy.wait()["type"] == "execution_interrupted"
    shown = comfy.run("() => window.shown")
    assert str(shown["node"]) == str(node) and "Stopped before all was run" in shown["output"]["text"][1]
    assert (1120, 760) in [tuple(size) for size in shown_pictures(comfy, node)]
    comfy.picture("convergence_interrupted")


def test_a_wrong_line_is_told_on_the_page(comfy):
    loaded(comfy, samplers="erk_amb")
    answer = comfy.run(
        """async () => {
            const prompt = await app.graphToPrompt();
            const response = await fetch('/prompt', {method: 'POST', headers: {'Content-Type': 'application/json'},
                body: JSON.stringify({prompt: prompt.output, client_id: app.api.clientId})});
            return [response.status, await response.text()];
        }"""
    )
    assert answer[0] == 400 and "the nearest names are erk_abm" in answer[1]
