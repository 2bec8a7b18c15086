"""The live chart in ComfyUI's real page, in both of its renderers."""

from __future__ import annotations

import json
import os
import statistics
import uuid
from pathlib import Path
from typing import Any

import pytest
from browser import ComfyPage, a_browser, drawn_points, expected_points
from PIL import Image

from devtools.comfyui import ROOT
from devtools.make.workflows import WORKFLOWS, load

SETTING = "ERK-Guid.LiveChart"
WHAT_TO_DO = (
    "Where h*rho-hat is above 1, a step is too long: use more steps, or a scheduler that puts more of them there."
)


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture(scope="module")
def browser():
    with a_browser() as running:
        yield running


@pytest.fixture(scope="module", params=["classic", "nodes2", "newer-classic", "newer-nodes2"])
def comfy(request, browser):
    newer, _, renderer = request.param.rpartition("-")
    page = ComfyPage(browser, request.getfixturevalue("newer_page_server" if newer else "server"), renderer)
    yield page
    page.page.close()


@pytest.fixture(autouse=True)
def clean_console(comfy):
    comfy.setting(SETTING, "all")
    comfy.errors.clear()
    yield
    show(comfy, "h*rho-hat")
    assert comfy.own_errors == []


class Seeds:
    """A new seed for each run, because otherwise ComfyUI's cache answers."""

    last = 1000

    @classmethod
    def next(cls) -> int:
        cls.last += 1
        return cls.last


DEMO = {"1": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=64, height=64, batch_size=1)}
WIRES = {"model": ["1", 0], "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 4]}
SHOWN = {
    "20": node("StiffnessVisualizerERKGuid", trace=["2", 1]),
    "21": node("PreviewAny", source=["20", 1]),
}


def percents(error: float) -> set[str]:
    """How the chart may tell an error below 100 %, which it knows to three digits."""
    return {f"about {100 * error * more:.0f} %" if error >= 0.01 else "below 1 %" for more in (0.994, 1, 1.006)}


def show(comfy: ComfyPage, view: str) -> None:
    """Choose what all charts show, on the tab of any that has one."""
    comfy.run('(view) => document.querySelector(`.erk-guid-tabs [data-view="${view}"]`)?.click()', view)
    comfy.settle()


def kept(sampler: str = "2") -> dict[str, Any]:
    return {"10": node("VAEDecode", samples=[sampler, 0], vae=["1", 3]), "11": node("PreviewImage", images=["10", 0])}


def ksampler(sampler_name: str, steps: int = 6) -> dict[str, Any]:
    inputs = {
        "seed": Seeds.next(),
        "steps": steps,
        "cfg": 3.0,
        "sampler_name": sampler_name,
        "scheduler": "karras",
        "denoise": 1.0,
    }
    return {**DEMO, "2": node("KSampler", **WIRES, **inputs), **kept()}


def erk_ksampler(mode: str = "paper", solver: str = "dpm_2", steps: int = 6) -> dict[str, Any]:
    inputs = {
        "seed": Seeds.next(),
        "steps": steps,
        "cfg": 3.0,
        "solver": solver,
        "scheduler": "karras",
        "denoise": 1.0,
        "mode": mode,
    }
    return {**DEMO, "2": node("KSamplerERKGuid", **WIRES, **inputs), **kept()}


def stock_nodes() -> dict[str, dict[str, Any]]:
    """Each stock node that samples, with an erk_* sampler."""
    common = {"steps": 6, "cfg": 3.0, "scheduler": "karras"}
    advanced = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 99, "return_with_leftover_noise": "disable"}
    chosen = {
        "4": node("KSamplerSelect", sampler_name="erk_heun"),
        "5": node("BasicScheduler", model=["1", 0], scheduler="karras", steps=6, denoise=1.0),
        "6": node("RandomNoise", noise_seed=Seeds.next()),
        "7": node("CFGGuider", model=["1", 0], positive=["1", 1], negative=["1", 2], cfg=3.0),
    }
    wires = {"sampler": ["4", 0], "sigmas": ["5", 0], "latent_image": ["1", 4]}
    custom = {
        "model": ["1", 0],
        "positive": ["1", 1],
        "negative": ["1", 2],
        "add_noise": True,
        "noise_seed": Seeds.next(),
        "cfg": 3.0,
    }
    return {
        "KSampler": ksampler("erk_heun"),
        "KSamplerAdvanced": {
            **DEMO, **kept(),
            "2": node("KSamplerAdvanced", **WIRES, **common, **advanced, noise_seed=Seeds.next(),
            sampler_name="erk_deis"),
        },
        "SamplerCustom": {**DEMO, **kept(), "4": chosen["4"], "5": chosen["5"], "2": node("SamplerCustom", **custom,
        **wires)},
        "SamplerCustomAdvanced": {
            **DEMO, **kept(), **chosen, "2": node("SamplerCustomAdvanced", noise=["6", 0], guider=["7", 0], **wires),
        },
    }  # fmt: skip


def add_json(comfy: ComfyPage, visualizer: int) -> str:
    """Show the visualizer's JSON in the history. Returns the id of the node that does this."""
    return str(
        comfy.run(
            """(id) => {
                const plot = app.rootGraph.getNodeById(id), show = LiteGraph.createNode('PreviewAny');
                show.pos = [plot.pos[0], plot.pos[1] + 900];
                app.rootGraph.add(show);
                plot.connect(plot.outputs.findIndex((output) => output.name === 'json'), show, 0);
                return show.id;
            }""",
            visualizer,
        )
    )


ONE_RUN = ("erk_guid_demo", "erk_guid_custom_sampler")
"""Example workflows with one sampler of 16 steps that need no file.

tests/page/test_workflows.py loads all workflows in the page.
"""


def find(graph: dict[str, Any], *types: str) -> int:
    return next(entry["id"] for entry in graph["nodes"] if entry["type"] in types)


@pytest.mark.parametrize("workflow", [w for w in WORKFLOWS if w.name in ONE_RUN], ids=lambda workflow: workflow.name)
def test_example_workflow(comfy, workflow):
    """The points on the sampling node and on the visualizer are those of the trace, and they arrived one by one."""
    graph = load(workflow.name)
    sampler = find(graph, "KSamplerERKGuid", "SamplerCustomAdvanced")
    visualizer = find(graph, "StiffnessVisualizerERKGuid")
    comfy.load(graph)
    seeded = find(graph, "KSamplerERKGuid", "RandomNoise")
    comfy.set_widget(seeded, "seed" if seeded == sampler else "noise_seed", Seeds.next())
    shown = add_json(comfy, visualizer)
    assert comfy.chart(sampler) is None
    comfy.run(
        """(id) => {
            window.counts = new Set();
            const look = () => {
                const widget = app.rootGraph.getNodeById(id).widgets?.find((widget) => widget.type === 'ERK_GUID_LIVE');
                window.counts.add(widget?.element.chart?.points.length ?? 0);
                if (!window.stopCounting) requestAnimationFrame(look);
            };
            look();
        }""",
        sampler,
    )
    trace = json.loads(comfy.queue()[shown]["text"][0])
    counts = sorted(comfy.run("() => { window.stopCounting = true; return [...window.counts]; }"))
    comfy.run("() => { window.stopCounting = false; }")
    assert len(trace["steps"]) == 16
    assert counts[0] == 0 and counts[-1] == 16 and len(counts) >= 5, f"the chart grows as steps arrive: {counts}"

    for where in (sampler, visualizer):
        comfy.look_at(where)
        chart = comfy.chart(where)
        assert drawn_points(chart) == expected_points(trace)
        assert chart["visible"] and chart["box"][2] > 150 and chart["box"][3] > 150
        kinds = [
            "missing" if value is None else "active" if active else "plain"
            for *_, value, active in expected_points(trace)
        ]
        assert chart["marks"] == list(enumerate(kinds)) or chart["marks"] == [list(mark) for mark in enumerate(kinds)]
        steps, *error = chart["progress"].split(" · ")
        assert steps == "16 steps" and trace["run"]["mode"] in chart["title"]
        told = percents(statistics.median(trace["error"]))
        assert not error or error[0].removeprefix("solver error ") in told, "where there is room"
        comfy.picture(f"{workflow.name}_{where}")
    messages = comfy.messages()
    assert [message["step"] for message in messages] == list(range(16))
    assert all(message["node"] == str(sampler) and message["views"] == [str(visualizer)] for message in messages)
    assert max(len(json.dumps(message)) for message in messages) < 700


def test_threshold_hover_and_the_previous_run(comfy):
    comfy.load_prompt({**erk_ksampler("off"), **SHOWN})
    first = json.loads(comfy.queue()["21"]["text"][0])
    chart = comfy.chart(2)
    assert drawn_points(chart) == expected_points(first)
    assert not any(active for *_, active in drawn_points(chart)), "an off run is measured too"
    assert chart["points"][2]["value"] > 0
    assert chart["previous"] == [] and chart["threshold"] is None

    comfy.set_widget(2, "mode", "paper")
    comfy.set_widget(2, "seed", Seeds.next())
    second = json.loads(comfy.queue()["21"]["text"][0])
    comfy.look_at(2)
    chart = comfy.chart(2)
    assert drawn_points(chart) == expected_points(second) and drawn_points(chart, "previous") == expected_points(first)
    assert chart["view"] == "h*rho-hat" and chart["threshold"] is None
    assert any("previous run (off)" in text for text in chart["legend"])
    comfy.page.locator(".erk-guid-live [data-view='rho-hat']").first.click()
    comfy.settle()
    chart = comfy.chart(2)
    assert drawn_points(chart) == expected_points(second, "stiffness") and chart["limit"] is None
    assert drawn_points(comfy.chart(20)) == expected_points(second, "stiffness"), "one choice for the whole page"
    assert chart["threshold"]["value"] == second["run"]["w_con"]
    above = [value is not None and value > second["run"]["w_con"] for *_, value, _ in drawn_points(chart)]
    assert above[:-1] == [active for *_, active in drawn_points(chart)][:-1], "active is what lies above the threshold"
    assert any("threshold" in text for text in chart["legend"])
    elements = comfy.page.locator(".erk-guid-live").first
    assert elements.locator("polyline.previous").count() == 1 and elements.locator("line.threshold").count() == 2
    saved = json.dumps(comfy.saved())
    assert "rho-hat" not in saved.replace("h*rho-hat", ""), "what the page shows is nothing of the workflow"

    point = chart["points"][3]
    left, top, width, height = chart["box"]
    shown_width = comfy.run("() => document.querySelector('.erk-guid-live').offsetWidth")
    step = point["step"]
    comfy.page.mouse.move(left + point["x"] / shown_width * width, top + height / 2)
    tip = comfy.page.locator(".erk-guid-live .tip")
    tip.wait_for()
    text = tip.text_content()
    for value in (step["sigma"], step["stiffness"], step["hStiffness"]):
        assert f"{value:.3g}"[:4] in text
    correction = f"correction {100 * step['correction']:.3g}"[:14]
    assert "step 3" in text and (correction in text if step["active"] else "not corrected" in text)
    share = comfy.run(
        """() => {
            const tip = document.querySelector('.erk-guid-live .tip rect').getBoundingClientRect();
            const chart = document.querySelector('.erk-guid-live').getBoundingClientRect();
            return tip.width * tip.height / (chart.width * chart.height);
        }"""
    )
    assert share <= 0.25, f"the tooltip covers {share:.0%}"
    comfy.picture("hover")
    comfy.page.mouse.move(5, 500)
    tip.wait_for(state="detached")


@pytest.mark.both_pages
@pytest.mark.parametrize("kind", ["KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"])
def test_stock_nodes(comfy, kind):
    """A node has a chart only after an erk_* sampler ran. It loses the chart when it runs another sampler."""
    comfy.load_prompt(stock_nodes()[kind])
    assert comfy.elements() == 0
    comfy.queue()
    chart = comfy.chart(2)
    assert [step for step, *_ in drawn_points(chart)] == list(range(6))
    assert sum(point["value"] is not None for point in chart["points"]) >= 5
    assert comfy.elements() == 1
    height = comfy.height(2)
    comfy.set_widget(4 if kind.startswith("SamplerCustom") else 2, "sampler_name", "euler")
    comfy.queue()
    assert comfy.messages() == [] and comfy.chart(2) is None and comfy.elements() == 0
    assert comfy.height(2) < height - 100, "the node is as small as before"


@pytest.mark.both_pages
def test_saved_workflow_carries_nothing(comfy):
    comfy.load_prompt({**erk_ksampler(), **SHOWN})
    fresh = comfy.saved()["nodes"]
    comfy.queue()
    assert comfy.elements() == 2
    with_charts = comfy.saved()
    sampler = [next(entry for entry in nodes if entry["id"] == 2) for nodes in (fresh, with_charts["nodes"])]
    assert sampler[0] == sampler[1]
    assert "erk_guid_live" not in json.dumps(with_charts).lower()
    # The other nodes grow by what ComfyUI itself shows in them. They are saved with that size, without the charts.
    comfy.setting(SETTING, "off")
    comfy.settle()
    assert comfy.elements() == 0
    assert comfy.saved()["nodes"] == with_charts["nodes"]
    comfy.setting(SETTING, "all")
    comfy.settle()
    assert comfy.elements() == 2
    assert comfy.saved()["nodes"] == with_charts["nodes"]
    # If the user changes the node's size, the change is kept.
    comfy.run(
        "() => { const node = app.rootGraph.getNodeById(2); node.setSize([node.size[0] + 50, node.size[1] + 80]); }"
    )
    comfy.settle()
    size = next(entry for entry in comfy.saved()["nodes"] if entry["id"] == 2)["size"]
    assert [round(length) for length in size] == [round(length) for length in comfy.size(2)]
    assert size[1] > sampler[0]["size"][1] + 80 and size[0] == sampler[0]["size"][0] + 50


def fresh(comfy: ComfyPage, *kinds: str) -> list[int]:
    """An empty workflow with new nodes side by side; returns their ids."""
    ids = comfy.run(
        """async (kinds) => {
            const id = crypto.randomUUID();
            const empty = {nodes: [], links: [], version: 0.4, last_node_id: 0, last_link_id: 0, id};
            await app.loadGraphData(empty, true, true, id);
            const ids = kinds.map((kind, i) => {
                const node = LiteGraph.createNode(kind);
                node.pos = [450 * i, 0];
                app.rootGraph.add(node);
                return Number(node.id);
            });
            app.canvas.ds.scale = 0.6;
            app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 150;
            return ids;
        }""",
        list(kinds),
    )
    comfy.settle()
    return ids


def link(comfy: ComfyPage, origin: int, output: int, target: int, name: str) -> None:
    comfy.run(
        """([origin, output, target, name]) => {
            const node = app.rootGraph.getNodeById(target);
            const slot = node.inputs.findIndex((input) => input.name === name);
            app.rootGraph.getNodeById(origin).connect(output, node, slot);
        }""",
        [origin, output, target, name],
    )
    comfy.settle()


def small_demo(comfy: ComfyPage, demo: int) -> None:
    for name in ("width", "height"):
        comfy.set_widget(demo, name, 64)


def slots(comfy: ComfyPage, node_id: int) -> list[str]:
    return comfy.run(
        "(id) => app.rootGraph.getNodeById(id).inputs.filter((input) => !input.widget).map((input) => input.name)",
        node_id,
    )


@pytest.mark.parametrize("previews", ["none", "latent2rgb"])
def test_nodes_keep_their_size_when_they_run(comfy, previews):
    """Room for chart and pictures is there from the beginning, and the workflow knows nothing of it."""
    comfy.setting("Comfy.Execution.PreviewMethod", previews)
    try:
        demo, sampler, plot = fresh(comfy, "DemoModelERKGuid", "KSamplerERKGuid", "StiffnessVisualizerERKGuid")
        small_demo(comfy, demo)
        for output, name in enumerate(("model", "positive", "negative")):
            link(comfy, demo, output, sampler, name)
        link(comfy, demo, 4, sampler, "latent_image")
        link(comfy, sampler, 1, plot, "trace")
        comfy.set_widget(sampler, "seed", Seeds.next())
        sizes = [comfy.size(one) for one in (sampler, plot)]
        saved = {entry["id"]: entry["size"] for entry in comfy.saved()["nodes"]}
        for size, one in zip(sizes, (sampler, plot), strict=True):
            assert size[1] > saved[one][1] + 300, "room that is not saved"
        for _ in range(2):
            comfy.queue()
            comfy.settle()
            for size, one in zip(sizes, (sampler, plot), strict=True):
                now = comfy.size(one)
                assert now[0] == size[0] and abs(now[1] - size[1]) <= 1, f"node {one}: {size} became {now}"
            assert {entry["id"]: entry["size"] for entry in comfy.saved()["nodes"]} == saved
        assert comfy.chart(sampler)["visible"] and comfy.chart(plot)["visible"]
        comfy.picture(f"sizes_{previews}", whole_graph=True)
        # Saved, and opened again.
        comfy.load(comfy.saved())
        comfy.settle()
        for size, one in zip(sizes, (sampler, plot), strict=True):
            assert abs(comfy.size(one)[1] - size[1]) <= 8
        assert {entry["id"]: entry["size"] for entry in comfy.saved()["nodes"]} == saved
    finally:
        comfy.setting("Comfy.Execution.PreviewMethod", "none")


def test_traces_come_as_they_are_connected(comfy):
    first, second, plot = fresh(comfy, "KSamplerERKGuid", "SamplerERKGuid", "StiffnessVisualizerERKGuid")
    assert slots(comfy, plot) == ["trace", "latent"]
    link(comfy, first, 1, plot, "trace")
    assert slots(comfy, plot) == ["trace", "latent", "trace_2"]
    link(comfy, second, 1, plot, "trace_2")
    assert slots(comfy, plot) == ["trace", "latent", "trace_2", "latent_2", "trace_3"]
    assert "latent_2" in comfy.note(plot), "what to connect is said on the node"
    link(comfy, first, 0, plot, "latent_2")
    assert comfy.note(plot) == ""
    wires = {name: value for name, value in comfy.to_prompt()[str(plot)]["inputs"].items() if isinstance(value, list)}
    assert wires == {"trace": [str(first), 1], "trace_2": [str(second), 1], "latent_2": [str(first), 0]}

    # Saved and opened, copied, undone: every link is where it was.
    comfy.load(comfy.saved())
    assert slots(comfy, plot) == ["trace", "latent", "trace_2", "latent_2", "trace_3"]
    again = comfy.to_prompt()[str(plot)]["inputs"]
    assert {name: value for name, value in again.items() if isinstance(value, list)} == wires
    copies = comfy.run(
        """() => {
            const before = new Set(app.rootGraph.nodes.map((node) => node.id));
            app.canvas.selectItems([...app.rootGraph.nodes]);
            app.canvas.copyToClipboard();
            app.canvas.pasteFromClipboard({position: [0, 1200]});
            const made = app.rootGraph.nodes.filter((node) => !before.has(node.id));
            return made.map((node) => [node.type, String(node.id)]);
        }"""
    )
    comfy.settle()
    by_type = dict(copies)
    pasted = comfy.to_prompt()[by_type["StiffnessVisualizerERKGuid"]]["inputs"]
    assert {name: value for name, value in pasted.items() if isinstance(value, list)} == {
        "trace": [by_type["KSamplerERKGuid"], 1],
        "trace_2": [by_type["SamplerERKGuid"], 1],
        "latent_2": [by_type["KSamplerERKGuid"], 0],
    }
    comfy.run(
        """(id) => {
            const node = app.rootGraph.getNodeById(id);
            for (const name of ['trace_2', 'latent_2'])
                node.disconnectInput(node.inputs.findIndex((input) => input.name === name));
        }""",
        plot,
    )
    comfy.settle()
    assert slots(comfy, plot) == ["trace", "latent", "trace_2"]


@pytest.mark.parametrize("kind", ["KSamplerERKGuid", "KSamplerAdvancedERKGuid", "SamplerERKGuid"])
def test_settings_of_mode_paper_show_in_mode_paper(comfy, kind):
    (sampler,) = fresh(comfy, kind)

    def shown() -> set[str]:
        if comfy.renderer == "nodes2":
            texts = comfy.page.locator(f"[data-node-id='{sampler}'] [data-testid='node-widget']").all_text_contents()
            return {name for name in ("strengths", "w_stiff", "w_con") if any(text.startswith(name) for text in texts)}
        return set(
            comfy.run(
                """(id) => {
                    const node = app.rootGraph.getNodeById(id);
                    const names = node.widgets.filter((widget) => node.isWidgetVisible(widget)).map(({name}) => name);
                    return names.filter((name) => ['strengths', 'w_stiff', 'w_con'].includes(name));
                }""",
                sampler,
            )
        )

    def choose(name: str, value: str) -> None:
        comfy.run(
            """([id, name, value]) => {
                const widget = app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === name);
                widget.value = value;
                widget.callback(value);
            }""",
            [sampler, name, value],
        )
        comfy.settle()

    assert shown() == set()
    height = comfy.size(sampler)[1]
    choose("mode", "paper")
    assert shown() == {"strengths", "w_stiff", "w_con"}
    comfy.picture(f"paper_{kind}")
    if kind != "SamplerERKGuid":
        assert "usually hurts" in comfy.note(sampler), "abm is the solver"
        choose("solver", "heun")
        assert comfy.note(sampler) == ""
    comfy.set_widget(sampler, "strengths", "custom")
    comfy.set_widget(sampler, "w_con", 0.7)
    choose("mode", "calibrated")
    assert shown() == set()
    assert abs(comfy.size(sampler)[1] - height) <= 2
    comfy.load(comfy.saved())
    assert comfy.widget(sampler, "w_con") == 0.7 and comfy.widget(sampler, "strengths") == "custom" and shown() == set()
    assert comfy.to_prompt()[str(sampler)]["inputs"]["w_con"] == 0.7
    assert comfy.to_prompt()[str(sampler)]["inputs"]["max_order"] == 3


def test_a_sampler_without_its_latent_is_told(comfy):
    graph = load("erk_guid_custom_sampler")
    plot = find(graph, "StiffnessVisualizerERKGuid")
    comfy.load(graph)
    assert "Connect" not in comfy.note(plot)
    comfy.run(
        """(id) => {
            const node = app.rootGraph.getNodeById(id);
            node.disconnectInput(node.inputs.findIndex((input) => input.name === 'latent'));
        }""",
        plot,
    )
    comfy.settle()
    comfy.look_at(plot)
    assert "Connect the sampling node's output to latent too" in comfy.note(plot)
    comfy.picture("no_latent")


def test_a_high_value_is_warned_of(comfy):
    """The demo model in three steps of a schedule that is no good for it."""
    comfy.load_prompt(erk_ksampler("off", "heun", steps=4))
    comfy.set_widget(2, "scheduler", "karras")
    comfy.queue()
    high = sum(value is not None and value > 1 for *_, value, _ in drawn_points(comfy.chart(2)))
    assert high > 0
    note = comfy.chart(2)["note"]
    assert f"Above 1: {high} of 4 steps." in note and WHAT_TO_DO in note
    comfy.look_at(2)
    comfy.picture("high")


def test_the_chart_is_saved_and_its_numbers_copied(comfy):
    comfy.load_prompt({**erk_ksampler(), **SHOWN})
    assert menu(comfy, 2) == []
    trace = json.loads(comfy.queue()["21"]["text"][0])
    assert len(menu(comfy, 2)) == len(menu(comfy, 20)) == 2 and menu(comfy, 1) == []
    comfy.run(
        "() => { navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }; }"
    )
    choose_from_menu(comfy, 2, 1)
    rows = [line.split("\t") for line in comfy.run("() => window.copied").splitlines()]
    assert rows[0][:5] == ["step", "sigma", "sigma_next", "stiffness", "h_stiffness"] and len(rows) == 7
    for row, step in zip(rows[1:], trace["steps"], strict=True):
        assert [float(row[0]), float(row[1])] == [step["index"], step["sigma"]]
        assert (float(row[4]) if row[4] else None) == step["h_stiffness"][0]
    with comfy.page.expect_download() as download:
        choose_from_menu(comfy, 2, 0)
    assert download.value.suggested_filename == "stiffness_2.png"
    picture = Image.open(download.value.path()).convert("RGB")
    assert picture.size == (1280, 720)
    colours = picture.resize((160, 90)).getcolors(160 * 90)
    assert len(colours) > 30, "something is drawn"
    if folder := os.environ.get("ERK_GUID_SCREENSHOTS"):
        picture.save(Path(folder) / f"saved_chart_{comfy.renderer}.png")


def menu(comfy: ComfyPage, node_id: int) -> list[str]:
    """What this pack puts into a node's menu."""
    return comfy.run(
        """(id) => app.collectNodeMenuItems(app.rootGraph.getNodeById(id))
            .filter((item) => item?.content?.includes('stiffness')).map((item) => item.content)""",
        node_id,
    )


def choose_from_menu(comfy: ComfyPage, node_id: int, entry: int) -> None:
    comfy.run(
        """([id, entry]) => app.collectNodeMenuItems(app.rootGraph.getNodeById(id))
            .filter((item) => item?.content?.includes('stiffness'))[entry].callback()""",
        [node_id, entry],
    )


def test_chart_and_plot_follow_the_language(comfy):
    texts = json.loads((ROOT / "locales" / "fr" / "main.json").read_text(encoding="utf-8"))["erkGuid"]
    try:
        comfy.setting("Comfy.Locale", "fr")
        comfy.page.wait_for_timeout(1500)
        comfy.load_prompt({**erk_ksampler(), **SHOWN}, str(uuid.uuid4()))
        outputs = comfy.queue()
        chart = comfy.chart(2)
        assert chart["progress"].startswith(texts["%s steps"].replace("%s", "6"))
        assert texts["not corrected"] in chart["legend"]
        comfy.look_at(20)
        comfy.picture("french")
        image = outputs["20"]["images"][0]
        french = (comfy.server.base / "temp" / image["filename"]).read_bytes()
        comfy.setting("Comfy.Locale", "en")
        comfy.page.wait_for_timeout(1500)
        assert comfy.chart(2)["progress"].startswith("6 steps"), "what stands there is told anew"
        comfy.set_widget(20, "width", 1121)
        image = comfy.queue()["20"]["images"][0]
        assert (comfy.server.base / "temp" / image["filename"]).read_bytes() != french
    finally:
        comfy.setting("Comfy.Locale", "en")


def test_a_search_offers_the_ksampler_first_and_its_preview_the_default(comfy):
    fresh(comfy)
    comfy.page.mouse.dblclick(700, 600)
    comfy.settle()
    comfy.page.keyboard.type("erk")
    comfy.page.wait_for_timeout(1000)
    comfy.picture("search")
    text = comfy.page.locator("[role=listbox]:visible").first.inner_text()
    found = [text.find(name) for name in ("KSampler (ERK-Guid)", "Sampler ERK-Guid", "Demo Model (ERK-Guid)")]
    preview = comfy.page.locator("[data-node-id^='preview-']")
    shown = preview.inner_text() if preview.count() else ""
    comfy.page.keyboard.press("Escape")
    assert -1 < found[0] < min(found[1:]), text
    assert not shown or ("abm" in shown and "heun" not in shown)
    assert comfy.run("() => LiteGraph.registered_node_types.KSamplerERKGuid.nodeData.inputs.solver.options[0]") == "abm"


def convert(comfy: ComfyPage, *nodes: int | str) -> str:
    """Put nodes of the root graph into a subgraph. Returns the id of the subgraph node."""
    outer = comfy.run(
        "(ids) => String(app.rootGraph.convertToSubgraph(new Set(ids.map((id) => "
        "app.rootGraph.getNodeById(id)))).node.id)",
        list(nodes),
    )
    comfy.settle()
    return outer


def enter(comfy: ComfyPage, outer: str | None) -> None:
    """Look inside a subgraph node of the root graph, or at the root graph."""
    comfy.run("(id) => app.canvas.setGraph(id ? app.rootGraph.getNodeById(id).subgraph : app.rootGraph)", outer)
    comfy.settle()


@pytest.mark.both_pages
def test_copying_collapsing_muting_and_converting(comfy):
    comfy.load_prompt(erk_ksampler())
    size = next(entry for entry in comfy.saved()["nodes"] if entry["id"] == 2)["size"]
    comfy.queue()
    comfy.look_at(2)
    points = drawn_points(comfy.chart(2))
    assert comfy.chart(2)["visible"] and comfy.elements() == 1

    comfy.run("() => app.rootGraph.getNodeById(2).collapse()")
    comfy.settle()
    assert not comfy.page.locator(".erk-guid-live").first.is_visible()
    comfy.run("() => app.rootGraph.getNodeById(2).collapse()")
    comfy.settle()
    assert comfy.chart(2)["visible"] and len(comfy.chart(2)["points"]) == 6

    copies = comfy.run(
        """() => {
            const before = new Set(app.rootGraph.nodes), node = app.rootGraph.getNodeById(2), copy = node.clone();
            copy.pos = [900, 600];
            app.rootGraph.add(copy);
            app.canvas.selectItems([node]);
            app.canvas.copyToClipboard();
            app.canvas.pasteFromClipboard({position: [900, 1200]});
            return app.rootGraph.nodes.filter((node) => !before.has(node)).map((node) => String(node.id));
        }"""
    )
    comfy.settle()
    assert len(copies) == 2 and comfy.elements() == 1
    sizes = {str(entry["id"]): entry["size"] for entry in comfy.saved()["nodes"]}
    for copy in copies:
        assert comfy.chart(copy) is None and sizes[copy] == sizes["2"] == size
    for mode in (2, 4):
        comfy.run("(mode) => { app.rootGraph.getNodeById(2).mode = mode; app.canvas.setDirty(true, true); }", mode)
        comfy.settle()
        assert drawn_points(comfy.chart(2)) == points and comfy.chart(2)["visible"] and comfy.elements() == 1, (
            f"mode {mode}"
        )

    convert(comfy, 2)
    assert comfy.elements() == 0
    saved = comfy.saved()
    assert (
        saved["definitions"]["subgraphs"][0]["nodes"][0]["size"] == size
        and "erk_guid_live" not in json.dumps(saved).lower()
    )
    comfy.load(saved)
    assert comfy.elements() == 0


def test_other_workflows_and_reloading_the_page(comfy):
    """A chart belongs to its workflow. It disappears and comes back with it, until the page is reloaded."""
    graph = load(WORKFLOWS[0].name)
    sampler = find(graph, "KSamplerERKGuid")
    comfy.load(graph)
    comfy.set_widget(sampler, "seed", Seeds.next())
    comfy.set_widget(sampler, "steps", 5)
    comfy.queue()
    points = drawn_points(comfy.chart(sampler))
    comfy.load({**graph, "id": "00000000-0000-4000-8000-00000000abcd"})
    assert comfy.chart(sampler) is None and comfy.elements() == 0
    comfy.load(graph)
    assert drawn_points(comfy.chart(sampler)) == points
    comfy.page.reload()
    comfy.open()
    comfy.settle()
    assert comfy.elements() == 0
    comfy.load(graph)
    assert comfy.elements() == 0
    comfy.set_widget(sampler, "seed", Seeds.next())
    comfy.set_widget(sampler, "steps", 4)
    comfy.queue()
    assert len(comfy.chart(sampler)["points"]) == 4 and comfy.chart(sampler)["previous"] == []


def test_workflow_tabs(comfy):
    """With two open workflows that have the same nodes, a run is drawn in its own, whichever one is displayed."""

    def go_to(which: str) -> str:
        comfy.run("(which) => app.extensionManager.command.execute(`Workspace.${which}OpenedWorkflow`)", which)
        comfy.settle()
        return comfy.run("() => app.rootGraph.id")

    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    comfy.load_prompt(erk_ksampler(steps=40), mine)
    graph = comfy.saved()
    comfy.start()
    comfy.page.wait_for_function("() => window.erkMessages.length > 2")
    comfy.load({**graph, "id": other}, other)
    assert comfy.chart(2) is None and comfy.elements() == 0
    assert go_to("Previous") == mine
    assert len(comfy.chart(2)["points"]) >= 3 and comfy.elements() == 1
    assert go_to("Next") == other
    assert comfy.wait()["type"] == "execution_success" and len(comfy.messages()) == 40
    assert comfy.chart(2) is None and comfy.elements() == 0
    assert go_to("Previous") == mine
    assert len(comfy.chart(2)["points"]) == 40 and comfy.elements() == 1


def test_interrupted(comfy):
    comfy.load_prompt(erk_ksampler(steps=600))
    comfy.start()
    comfy.page.wait_for_function("() => window.erkMessages.length > 5")
    comfy.run("() => app.api.interrupt(null)")
    assert comfy.wait()["type"] == "execution_interrupted"
    chart = comfy.chart(2)
    assert 5 < len(chart["points"]) < 600 and chart["progress"].startswith("stopped at")
    comfy.picture("stopped")


def undo(comfy: ComfyPage, key: str = "Control+z") -> None:
    comfy.page.mouse.move(5, 500)
    comfy.page.keyboard.press(key)
    comfy.settle()


def capture(comfy: ComfyPage) -> int:
    """Let ComfyUI look for changes, as it does after each input. Returns how many there are to undo."""
    return comfy.run(
        """() => {
            const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
            tracker.captureCanvasState();
            return tracker.undoQueue.length;
        }"""
    )


def test_undo_and_redo(comfy):
    comfy.load_prompt({**DEMO, "2": erk_ksampler()["2"], "10": node("PreviewAny", source=["2", 0])}, str(uuid.uuid4()))
    comfy.queue()
    before = capture(comfy)
    for value in ("off", "all"):
        comfy.setting(SETTING, value)
        comfy.settle()
        assert capture(comfy) == before, "a chart that comes or goes is nothing to undo"
    points = drawn_points(comfy.chart(2))

    comfy.set_widget(2, "steps", 9)
    assert capture(comfy) == before + 1
    for key, steps in (("Control+z", 6), ("Control+y", 9)):
        undo(comfy, key)
        assert comfy.widget(2, "steps") == steps
        assert drawn_points(comfy.chart(2)) == points and comfy.chart(2)["visible"] and comfy.elements() == 1
    comfy.run("() => app.rootGraph.remove(app.rootGraph.getNodeById(2))")
    capture(comfy)
    assert comfy.elements() == 0
    undo(comfy)
    assert comfy.widget(2, "steps") == 9 and comfy.chart(2) is None and comfy.elements() == 0, "it went with its node"
    assert "erk_guid_live" not in json.dumps(comfy.saved()).lower()


@pytest.mark.both_pages
def test_in_a_subgraph(comfy):
    """The chart is on the node inside, and on the subgraph node that a person sees outside."""
    comfy.load_prompt({**erk_ksampler(), **SHOWN})
    outer = convert(comfy, 2)

    def saved() -> dict[str, Any]:
        return {**next(entry for entry in comfy.saved()["nodes"] if str(entry["id"]) == outer), "order": None}

    fresh = saved()
    outputs = comfy.queue()
    trace = json.loads(outputs["21"]["text"][0])
    inner = comfy.run("(id) => app.rootGraph.getNodeById(id).subgraph.nodes[0].id", outer)
    assert {message["node"] for message in comfy.messages()} == {f"{outer}:{inner}"}
    assert drawn_points(comfy.chart(20)) == expected_points(trace), (
        "the visualizer outside is found across the boundary"
    )

    def is_there() -> bool:
        """Below the node, or in it where the page's subgraph nodes take widgets, and only once."""
        chart = comfy.chart_outside(outer)
        top, takes_widgets = comfy.run(
            """([id, y]) => {
                const node = app.rootGraph.getNodeById(id), {scale, offset} = app.canvas.ds;
                const top = app.canvas.canvas.getBoundingClientRect().y;
                return [
                    (y - top) / scale - offset[1] - node.pos[1],
                    node.addCustomWidget !== LiteGraph.LGraphNode.prototype.addCustomWidget,
                ];
            }""",
            [outer, chart["box"][1]],
        )
        height = comfy.height(outer)
        assert drawn_points(chart) == expected_points(trace) and len(chart["marks"]) == 6
        assert comfy.visible_elements() == 2, "it and the visualizer's"
        well = 0 < top < height - 150 if takes_widgets else 0 < top - comfy.size(int(outer))[1] < 50
        return well and height < 500 and chart["visible"] and chart["box"][2] > 150 and chart["box"][3] > 150

    comfy.look_at(outer)
    comfy.picture("subgraph_outside")
    assert is_there() and saved() == fresh and "erk_guid_live" not in json.dumps(comfy.saved()).lower()

    enter(comfy, outer)
    comfy.look_at(inner)
    chart = comfy.chart(f"{outer}:{inner}")
    assert drawn_points(chart) == expected_points(trace) and chart["visible"] and comfy.visible_elements() == 1
    comfy.picture("subgraph")
    enter(comfy, None)
    comfy.look_at(outer)
    assert comfy.chart(20)["visible"] and is_there()

    # The other renderer, and back.
    try:
        comfy.setting("Comfy.VueNodes.Enabled", comfy.renderer == "classic")
        comfy.look_at(outer)
        assert is_there() and drawn_points(comfy.chart(20)) == expected_points(trace) and comfy.chart(20)["visible"]
        comfy.set_widget(int(outer), "seed", Seeds.next())
        trace = json.loads(comfy.queue()["21"]["text"][0])
        assert is_there() and drawn_points(comfy.chart(20)) == expected_points(trace)
        comfy.picture("subgraph_switched")
    finally:
        comfy.setting("Comfy.VueNodes.Enabled", comfy.renderer != "classic")
        comfy.settle()
    assert is_there() and drawn_points(comfy.chart(20)) == expected_points(trace) and comfy.chart(20)["visible"]

    comfy.run("(id) => app.rootGraph.getNodeById(id).collapse()", outer)
    comfy.settle()
    assert not comfy.chart_outside(outer)["visible"]
    comfy.run("(id) => app.rootGraph.remove(app.rootGraph.getNodeById(id))", outer)
    comfy.settle()
    assert comfy.chart_outside(outer) is None and comfy.chart(20)
    comfy.setting(SETTING, "off")
    comfy.settle()
    assert comfy.elements() == 0


@pytest.mark.both_pages
def test_samplers_in_nested_subgraphs(comfy):
    """The newest run inside is shown outside, until the node that made it runs another sampler."""
    prompt = ksampler("erk_heun", steps=5)
    prompt["3"] = node(
        "KSampler", **{**ksampler("erk_deis", steps=7)["2"]["inputs"], "latent_image": ["2", 0], "denoise": 0.9}
    )
    comfy.load_prompt({**prompt, **kept("3")})
    within = convert(comfy, 3)
    outer = convert(comfy, 2, within)
    comfy.queue()
    first, second = dict.fromkeys(message["node"] for message in comfy.messages())
    assert first.count(":") == 1 and second.count(":") == 2
    comfy.look_at(outer)
    assert len(comfy.chart_outside(outer)["points"]) == 7
    enter(comfy, outer)
    comfy.look_at(second.split(":")[1])
    assert len(comfy.chart(first)["points"]) == 5 and len(comfy.chart_outside(second.split(":")[1])["points"]) == 7
    enter(comfy, None)

    def run_euler(path: str) -> None:
        comfy.run(
            """(path) => {
                let graph = app.rootGraph, node;
                for (const id of path.split(':')) { node = graph.getNodeById(id); graph = node.subgraph; }
                node.widgets.find((widget) => widget.name === 'sampler_name').value = 'euler';
            }""",
            path,
        )
        comfy.queue()

    run_euler(second)
    assert comfy.messages() == [] and len(comfy.chart_outside(outer)["points"]) == 5
    run_euler(first)
    assert comfy.chart_outside(outer) is None and comfy.elements() == 0
    enter(comfy, outer)
    comfy.look_at(second.split(":")[1])
    assert comfy.chart_outside(second.split(":")[1]) is None
    assert comfy.height(second.split(":")[1]) < 250, "as small as before"
    enter(comfy, None)
    comfy.look_at(outer)
    assert comfy.height(outer) < 250


@pytest.mark.both_pages
def test_the_setting(comfy):
    comfy.load_prompt(
        {
            **erk_ksampler(),
            "3": ksampler("erk_deis")["2"],
            "12": node("VAEDecode", samples=["3", 0], vae=["1", 3]),
            "13": node("PreviewImage", images=["12", 0]),
        }
    )
    comfy.setting(SETTING, "erk")
    comfy.queue()
    assert {message["type"] for message in comfy.messages()} == {"KSamplerERKGuid"}, "the server measures no others"
    assert comfy.chart(2) and not comfy.chart(3)
    comfy.setting(SETTING, "off")
    comfy.settle()
    assert comfy.elements() == 0
    for sampler in (2, 3):
        comfy.set_widget(sampler, "seed", Seeds.next())
    comfy.queue()
    assert comfy.messages() == [] and comfy.elements() == 0
    comfy.setting(SETTING, "all")
    for sampler in (2, 3):
        comfy.set_widget(sampler, "seed", Seeds.next())
    comfy.queue()
    assert len(comfy.chart(2)["points"]) == len(comfy.chart(3)["points"]) == 6
    comfy.load_prompt(erk_ksampler())
    comfy.setting(SETTING, "erk")
    comfy.settle()
    assert comfy.elements() == 0, "graphs made from prompts have one id in common, and nothing else"


@pytest.mark.both_pages
def test_theme_zoom_and_width(comfy):
    comfy.load_prompt(erk_ksampler())
    comfy.queue()
    colours = {}
    for palette in ("dark", "light"):
        comfy.setting("Comfy.ColorPalette", palette)
        comfy.look_at(2)
        comfy.picture(f"theme_{palette}")
        style = "(name) => getComputedStyle(document.querySelector('.erk-guid-live ' + name))"
        colours[palette] = [
            comfy.run(
                f"() => {{ const of = {style}; return [of('.curve').stroke, of('.title').fill, of('.active').fill]; }}"
            ),
            comfy.run("() => getComputedStyle(document.querySelector('.erk-guid-live')).backgroundColor"),
        ]
    comfy.setting("Comfy.ColorPalette", "dark")
    for curve, ground in colours.values():
        assert all(contrast(colour, ground) >= 3 for colour in curve), f"readable on its ground: {colours}"
    assert colours["dark"][1] != colours["light"][1]

    for width in (230, 420, 800):
        comfy.run(
            "(width) => { const node = app.rootGraph.getNodeById(2); node.setSize([width, node.size[1]]); }", width
        )
        for scale in (0.3, 1.0, 2.0):
            comfy.look_at(2, scale)
            chart = comfy.chart(2)
            share = chart["box"][2] / (width * scale)
            assert chart["visible"] and 0.6 < share < 1.0, f"{width} wide at {scale}: {chart['box']}"
            assert 130 < chart["box"][3] / scale < 460
            assert len(chart["marks"]) == 6


def contrast(a: str, b: str) -> float:
    """WCAG contrast ratio of two CSS colours, rgb(...)."""

    def luminance(colour: str) -> float:
        channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]]
        linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
