"""The visualizer: what it draws in words and in pixels, what it saves and where, and the node in a real server."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
import os
import re
import warnings
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from devtools.comfyui import ROOT, Server, error_message
from devtools.inprocess import load_pack, pack_module
from devtools.make.workflows import load, to_prompt

load_pack()

import folder_paths  # noqa: E402
import torch  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

erk = pack_module("erk")
visualizer = pack_module("nodes.visualizer")
save_trace = pack_module("nodes.traces.saving")
trace_runs = pack_module("nodes.traces.runs")


# The pack imports it, and so matplotlib, only when a plot is made.
drawing = import_module(f"{load_pack().__name__}.nodes.traces.figure")
style = pack_module("nodes.traces.style")

FIELDS = erk.QUANTITIES
QUANTITIES = {
    "rho-hat": "stiffness",
    "h*rho-hat": "h_stiffness",
    "correction size": "correction",
    "estimated S": "data_std",
}


def make_trace(
    steps: int = 8, batch: int = 1, solver: str = "heun", mode: str = "calibrated", seed: int = 0, **more: Any
):
    """A trace with invented values of realistic size."""
    generator = torch.Generator().manual_seed(seed)
    sigmas = [*torch.logspace(1.2, -1.5, steps).tolist(), 0.0]
    trace = erk.Trace()
    trace.begin(erk.RunInfo(solver, mode, "sigma-space", sigmas, more))
    for i in range(steps):
        values = torch.rand((len(FIELDS), batch), generator=generator) * torch.logspace(-2, 1, steps)[i] + 1e-3
        values[0] = float(mode != "off" and i % 2)
        values[1] = values[1].clamp(max=1) * values[0]
        if mode != "calibrated":
            values[4:] = math.nan
        values[7] = float(i % 3) if mode == "calibrated" else 0.0
        if i == 0:
            values[2:4] = math.nan
        trace.record(erk.MeasuredStep(i, sigmas[i], sigmas[i + 1], 2 * i + 2, values))
    return trace


def draw(
    *traces: Any,
    what: str = "overview",
    axis: str = "step",
    size: tuple[int, int] = (800, 560),
    theme: str = "light",
    labels=(),
):
    """The figure and its pixels. A warning from matplotlib is an error."""
    title, runs = trace_runs.label_runs(traces, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawing.draw(runs, title, what, axis, *size, theme)
    return figure, np.asarray(figure.canvas.buffer_rgba())[..., :3]


def lines(figure: Any) -> dict[str, Any]:
    return {line.get_gid(): line for axes in figure.axes for line in axes.lines if line.get_gid()}


def words(figure: Any) -> str:
    """All texts on a figure."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    return "\n".join(text.get_text() for text in texts)


class TestDrawing:
    @pytest.mark.parametrize("axis", style.AXES)
    @pytest.mark.parametrize(("what", "field"), QUANTITIES.items())
    def test_lines_are_the_traces_values(self, what, field, axis):
        traces = [make_trace(8, 3, seed=1), make_trace(5, 1, "deis", seed=2)]
        figure, _ = draw(*traces, what=what, axis=axis)
        for number, trace in enumerate(traces):
            line = lines(figure)[f"{what}/{number}"]
            place = [step.sigma if axis == "sigma" else step.index for step in trace.steps]
            value = [
                np.median(getattr(step, field)) * (100 if what == "correction size" else 1) for step in trace.steps
            ]
            assert np.allclose(line.get_xdata(), place)
            assert np.allclose(line.get_ydata(), value, equal_nan=True)
            for state, active in (("corrected", True), ("not corrected", False)):
                marks = lines(figure)[f"{what}/{number}/{state}"]
                assert np.allclose(
                    marks.get_xdata(),
                    [p for p, step in zip(place, trace.steps, strict=True) if any(step.active) is active],
                )
                hollow = to_rgb(marks.get_markerfacecolor()) == to_rgb(style.THEMES["light"].background)
                assert hollow is not active
        (panel,) = figure.axes
        left, right = panel.get_xlim()
        assert bool(left > right) is (axis == "sigma"), "sigma falls from left to right"

    @pytest.mark.parametrize("size", [(1120, 800), (800, 620), (1600, 1000)])
    def test_stiffness_and_h_rho_hat_have_panels_of_one_size(self, size):
        """The line at 1 is in sight wherever the values lie, and the region above it is shaded."""
        for factor in (1e-3, 1.0, 1e3):
            trace = make_trace(8, 2)
            for step in trace._measured:
                step.values[3] *= factor
            figure, _ = draw(trace, size=size)
            first, second = figure.axes[:2]
            boxes = [axes.get_window_extent() for axes in (first, second)]
            assert boxes[0].width == pytest.approx(boxes[1].width, rel=0.05)
            assert boxes[0].height == pytest.approx(boxes[1].height, rel=0.05)
            assert {"rho-hat/0"} <= {line.get_gid() for line in first.lines}
            assert {"h*rho-hat/0"} <= {line.get_gid() for line in second.lines}
            low, high = second.get_ylim()
            assert low < 1 < high
            assert any(list(line.get_ydata()) == [1.0, 1.0] for line in second.lines)
            (region,) = second.patches
            box = region.get_extents().transformed(second.transData.inverted())
            assert box.y0 == pytest.approx(1) and box.y1 == pytest.approx(high)
            assert not first.patches

    def test_the_correction_is_on_a_logarithmic_axis(self):
        """Steps that were not corrected stand at its foot."""
        figure, _ = draw(make_trace(8), what="correction size")
        (panel,) = figure.axes
        assert panel.get_yscale() == "log"
        foot = [line for line in panel.lines if line.get_transform() == panel.get_xaxis_transform()]
        assert [list(line.get_xdata()) for line in foot] == [[0, 2, 4, 6]]
        assert draw(make_trace(mode="off"), what="correction size")[0].axes[0].get_yscale() == "linear"

    def test_overview_has_every_quantity_of_every_run(self):
        for traces in ([make_trace()], [make_trace(), make_trace(12, seed=3), make_trace(4), make_trace(6, 2)]):
            figure, _ = draw(*traces, size=(1120, 800))
            assert {f"{what}/{i}" for what in QUANTITIES for i in range(len(traces))} <= set(lines(figure))

    def test_the_band_is_the_spread_over_the_batch(self):
        trace = make_trace(8, 4)
        figure, _ = draw(trace, what="rho-hat")
        (band,) = figure.axes[0].collections
        edge = band.get_paths()[0].vertices[:, 1]
        values = [value for step in trace.steps[1:] for value in step.stiffness]
        assert math.isclose(edge.min(), min(values)) and math.isclose(edge.max(), max(values))
        assert not draw(make_trace(8, 1), what="rho-hat")[0].axes[0].collections

    def test_runs_differ_by_colour_marker_and_line(self):
        figure, _ = draw(*(make_trace(seed=i) for i in range(4)), what="rho-hat")
        drawn = [lines(figure)[f"rho-hat/{i}"] for i in range(4)]
        marks = [lines(figure)[f"rho-hat/{i}/corrected"] for i in range(4)]
        assert len({line.get_color() for line in drawn}) == 4
        assert len({str(line._unscaled_dash_pattern) for line in drawn}) == 4
        assert len({line.get_marker() for line in marks}) == 4

    def test_thresholds_in_the_runs_colours(self):
        paper = make_trace(mode="paper", w_stiff=0.5, w_con=0.1)
        figure, _ = draw(make_trace(), paper, make_trace(mode="paper", w_stiff=0.5, w_con=2.0), what="rho-hat")
        found = {name: line for name, line in lines(figure).items() if name.startswith("threshold/")}
        assert {name: line.get_ydata()[0] for name, line in found.items()} == {"threshold/1": 0.1, "threshold/2": 2.0}
        for name, line in found.items():
            assert line.get_color() == lines(figure)[f"rho-hat/{name[-1]}"].get_color()
        assert "threshold w_con = 0.1" in words(draw(paper)[0])

    @pytest.mark.parametrize(
        "size", [(320, 240), (321, 243), (480, 320), (1120, 800), (1999, 301), (400, 1201), (4096, 2160)]
    )
    @pytest.mark.parametrize("theme", style.THEMES)
    def test_size_and_background(self, size, theme):
        width, height = size
        _, pixels = draw(make_trace(), make_trace(seed=1), size=size, theme=theme)
        assert pixels.shape == (height, width, 3)
        background = np.round(255 * np.array(to_rgb(style.THEMES[theme].background)))
        assert np.array_equal(pixels[0, 0], background)
        assert 0.4 < (pixels == background).all(-1).mean() < 0.99, "a background, and something on it"
        assert pixels.mean() < 80 if theme == "dark" else pixels.mean() > 200
        for number in range(2):
            colour = np.round(255 * np.array(to_rgb(style.THEMES[theme].runs[number])))
            assert (np.abs(pixels - colour).max(-1) < 2).sum() > 20, f"run {number} is to be seen"

    @pytest.mark.parametrize("size", [(320, 240), (480, 320), (700, 500), (1120, 800), (2000, 1500)])
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_nothing_is_cut_or_overlaps(self, size, count):
        """Title, panels, legend and notes are inside the figure, one below the other."""
        traces = [make_trace(8 + i, 2, seed=i) for i in range(count)]
        traces[0]._measured[3].values[:] = math.nan
        figure, _ = draw(*traces, size=size, labels=["a label that goes on " * 6] + ["run"] * (count - 1))
        renderer = figure.canvas.get_renderer()
        bottom = max(
            [text.get_window_extent(renderer).y1 for text in figure.texts if text.get_va() == "bottom"], default=0
        )
        (legend,) = figure.legends
        legend_box = legend.get_window_extent(renderer)
        (title,) = [text.get_window_extent(renderer) for text in figure.texts if text.get_va() == "top"]
        boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
        assert bottom <= legend_box.y0 + 1
        assert legend_box.y1 <= min(box.y0 for box in boxes) + 1
        assert max(box.y1 for box in boxes) <= title.y0 + 1
        for box in (*boxes, legend_box, title, *(text.get_window_extent(renderer) for text in figure.texts)):
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= size[0] + 1 and box.y1 <= size[1] + 1
        assert sum(axes.get_window_extent(renderer).height for axes in figure.axes[:1]) > 0.15 * size[1], (
            "room is left for the curve"
        )


class TestSolverError:
    """What the run's own error is, in words below the overview."""

    def words(self, *errors: float, steps: int = 8, solver: str = "heun", plot: str = "overview") -> str:
        trace = make_trace(steps, len(errors), solver)
        last = trace._measured[-1]
        each = torch.tensor([errors]).expand(steps, -1) / steps
        trace._measured[-1] = replace(last, errors=each)
        title, runs = trace_runs.label_runs([trace])
        figure = drawing.draw(runs, title, plot, "step", 1120, 800, "light")
        return next((text.get_text() for text in figure.texts if "solver error" in text.get_text()), "")

    def test_a_large_one_tells_how_many_steps_are_enough_or_what_twice_as_many_give(self):
        assert self.words(0.02) == "solver error: about 2 % of the contrast, with 13 steps below 1 %"
        assert self.words(0.2) == "solver error: about 20 % of the contrast, with 16 steps about 7 %"
        assert self.words(0.2, solver="euler").endswith("with 16 steps about 10 %")
        assert self.words(3.0) == "solver error: above 100 % of the contrast, with 16 steps above 100 %"

    def test_a_small_one_says_that_more_steps_change_nothing(self):
        assert self.words(0.004).startswith("solver error: below 1 % of the contrast; more steps change nothing")

    def test_the_batchs_median_as_far_as_it_is_known(self):
        assert "about 4 %" in self.words(0.03, 0.05, math.nan)

    def test_nothing_where_it_is_unknown_or_one_quantity_is_plotted(self):
        assert not self.words(math.nan) and not self.words(0.2, plot="rho-hat")


class TestLabels:
    def test_made_from_what_differs(self):
        title, runs = trace_runs.label_runs([make_trace(8), make_trace(8, mode="off")])
        assert [run.label for run in runs] == ["mode calibrated", "mode off"]
        assert "Heun" in title and "8 steps" in title and "mode " not in title
        title, runs = trace_runs.label_runs([make_trace(8), make_trace(16, solver="deis")])
        assert "Heun" in runs[0].label and "8 steps" in runs[0].label and "DEIS" in runs[1].label
        _, runs = trace_runs.label_runs([make_trace(8), make_trace(8, seed=2), make_trace(4)])
        assert len({run.label for run in runs}) == 3, "alike runs get numbers"

    def test_scheduler_cfg_and_seed_are_named_where_the_prompt_tells_them(self):
        settings = pack_module("nodes.traces.source").settings_of
        prompt = {
            "1": node("KSamplerERKGuid", scheduler="karras", cfg=3.5, seed=7, steps=8),
            "2": node("KSamplerERKGuid", scheduler=["9", 0], cfg=["9", 1], seed=8, steps=8),
            "3": node("SamplerERKGuid", solver="abm"),
            "4": node("BasicScheduler", scheduler="simple", steps=4),
            "5": node("CFGGuider", cfg=2),
            "6": node("RandomNoise", noise_seed=42),
            "7": node("SamplerCustomAdvanced", sampler=["3", 0], sigmas=["4", 0], guider=["5", 0], noise=["6", 0]),
            "8": node(
                "StiffnessVisualizerERKGuid", trace=["1", 1], trace_2=["2", 1], trace_3=["3", 1], latent=["7", 0]
            ),
        }
        found = [settings(prompt, "8", name) for name in ("trace", "trace_2", "trace_3")]
        assert found == [
            {"scheduler": "karras", "cfg": 3.5, "seed": 7}, {"seed": 8}, {"scheduler": "simple", "cfg": 2, "seed": 42},
        ]  # fmt: skip
        prompt["10"] = node("SamplerCustom", sampler=["3", 0], sigmas=["4", 0], cfg=9.0, noise_seed=42)
        assert settings(prompt, "8", "trace_3") == {"scheduler": "simple", "seed": 42}, (
            "two samplings, two values of cfg"
        )
        assert settings({}, "8", "trace") == settings(prompt, "none", "trace") == settings(prompt, "8", "trace_4") == {}
        title, runs = trace_runs.label_runs([make_trace()], (), found[:1])
        assert "karras" in title and "cfg 3.5" in title and "seed 7" in title
        title, runs = trace_runs.label_runs(
            [make_trace(), make_trace()], (), [{"cfg": 3, "seed": 1}, {"cfg": 3, "seed": 2}]
        )
        assert "cfg 3" in title and [run.label for run in runs] == ["seed 1", "seed 2"]

    def test_a_language_without_fonts_is_english(self, monkeypatch):
        language = pack_module("nodes.traces.language")
        texts = import_module(f"{load_pack().__name__}.nodes.traces.texts")
        language._drawable_texts.cache_clear()
        monkeypatch.setattr(texts, "families", lambda: ["DejaVu Sans"])
        try:
            with language.speaking("ja"):
                assert language.tell("%s steps", 8) == "8 steps"
            with language.speaking("fr"):
                assert language.tell("%s steps", 8) == "8 étapes"
                text = words(draw(make_trace())[0])
                assert "Raideur" in text and "niveau de bruit" in text and "Stiffness" not in text
            assert language.tell("%s steps", 8) == "8 steps"
        finally:
            language._drawable_texts.cache_clear()

    def test_given_labels_stand_as_they_are_written(self):
        odd = ["_hidden", "$x^2$ \\frac{", "a, b", "\u4f60 \U0001f642 \x07"]
        figure, _ = draw(*(make_trace(seed=i) for i in range(4)), labels=odd)
        text = words(figure)
        assert "_hidden" in text and "$x^2$ \\frac{" in text and "a, b" in text
        assert trace_runs.split_labels("a, b\n\nc") == ["a, b", "", "c"]
        assert trace_runs.split_labels(" a, b") == ["a", "b"]

    def test_a_line_names_the_trace_of_its_input(self):
        node = visualizer.StiffnessVisualizerERKGuid
        output = node.execute(
            make_trace(), trace_3=make_trace(seed=1), labels="first\nsecond\nthird", width=320, height=240
        )
        assert [run["label"] for run in json.loads(output.result[1])["runs"]] == ["first", "third"]


def spoil(trace: Any, value: float, fields: slice = slice(1, 7), steps: Any = None):
    for i, raw in enumerate(trace._measured):
        if steps is None or i in steps:
            raw.values[fields] = value
    return trace


DEGENERATE = {
    "empty": (lambda: [erk.Trace()], "no step has been sampled"),
    "all empty": (lambda: [erk.Trace(), erk.Trace()], "no step has been sampled"),
    "one empty": (lambda: [make_trace(), erk.Trace()], "run 2: empty, no step has been sampled yet"),
    "off": (lambda: [make_trace(mode="off")], "guidance is off:\nmeasured, not corrected"),
    "off beside another": (lambda: [make_trace(mode="off"), make_trace()], "mode off"),
    "one step": (lambda: [make_trace(1)], "one step only"),
    "one step beside another": (lambda: [make_trace(1), make_trace()], "one step only"),
    "all NaN": (lambda: [spoil(make_trace(), math.nan)], "no finite value above 0 in any step"),
    "all NaN beside another": (
        lambda: [spoil(make_trace(), math.nan), make_trace(4)],
        "no finite value above 0 in any step",
    ),
    "some NaN": (lambda: [spoil(make_trace(), math.nan, steps=(3, 5))], "rho-hat not finite at steps 3 and 5"),
    "some inf": (lambda: [spoil(make_trace(), math.inf, steps=(4,))], "rho-hat not finite at step 4"),
    "zeros": (lambda: [spoil(make_trace(), 0.0)], "no finite value above 0 in any step"),
    "never corrected": (lambda: [spoil(make_trace(), 0.0, slice(0, 2))], "no step was corrected"),
}


class TestDegenerate:
    @pytest.mark.parametrize("axis", style.AXES)
    @pytest.mark.parametrize(("build", "said"), DEGENERATE.values(), ids=DEGENERATE)
    def test_overview_says_so(self, build, said, axis):
        figure, pixels = draw(*build(), axis=axis)
        assert said in words(figure)
        assert pixels.std() > 3

    @pytest.mark.parametrize("what", QUANTITIES)
    @pytest.mark.parametrize("build", [build for build, _ in DEGENERATE.values()], ids=DEGENERATE)
    def test_every_plot_is_drawn_or_says_why_not(self, build, what):
        traces = build()
        figure, _ = draw(*traces, what=what, size=(480, 320))
        for number, trace in enumerate(traces):
            values = [value for step in trace.steps for value in getattr(step, QUANTITIES[what])]
            if any(math.isfinite(value) and (value > 0 or what == "correction size") for value in values):
                assert f"{what}/{number}" in lines(figure)
            else:
                assert any(
                    word in words(figure) for word in ("no step", "one step only", "no finite", "no estimate")
                ), words(figure)

    def test_the_same_trace_twice(self):
        trace = make_trace()
        assert "one trace is connected twice" in words(draw(trace, trace)[0])
        assert "one trace is connected twice" not in words(draw(trace, make_trace())[0])

    def test_no_estimate_of_s_outside_mode_calibrated(self):
        assert "mode paper makes no estimate of S" in words(draw(make_trace(mode="paper"), what="estimated S")[0])
        text = words(draw(make_trace(mode="paper"), make_trace(), what="estimated S")[0])
        assert "mode paper: mode paper makes no estimate of S" in text

    def test_sigmas_without_a_place_on_a_logarithmic_axis(self):
        trace = make_trace()
        trace._measured[2] = replace(trace._measured[2], sigma=0.0)
        figure, _ = draw(trace, axis="sigma")
        assert "has no place on this axis" in words(figure)
        assert np.isnan(lines(figure)["rho-hat/0"].get_ydata()[2])
        trace._measured[:] = [replace(step, sigma=math.nan) for step in trace._measured]
        assert draw(trace, axis="sigma")[1].std() > 3

    values = st.one_of(st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-45, 3e38]))

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=st.data())
    def test_any_values_at_all(self, data):
        """There is never an exception or a warning, and the files hold what the trace holds."""
        traces = []
        for _ in range(data.draw(st.integers(1, 3))):
            trace = make_trace(
                data.draw(st.integers(0, 4)), data.draw(st.integers(1, 2)), mode=data.draw(st.sampled_from(erk.MODES))
            )
            for i, step in enumerate(trace._measured):
                drawn = data.draw(st.lists(self.values, min_size=step.values.numel(), max_size=step.values.numel()))
                values = torch.tensor(drawn, dtype=torch.float32).reshape(step.values.shape)
                trace._measured[i] = replace(
                    step, values=values, sigma=data.draw(st.one_of(st.just(step.sigma), self.values))
                )
            traces.append(trace)
        what, axis = data.draw(st.sampled_from(style.PLOTS)), data.draw(st.sampled_from(style.AXES))
        figure, pixels = draw(*traces, what=what, axis=axis, size=(400, 300))
        assert pixels.std() > 0 and words(figure).strip()
        _, runs = trace_runs.label_runs(traces)
        check_csv(save_trace.as_csv(runs), traces)
        check_json(trace_runs.as_json(runs), traces)


def check_json(text: str, traces: list[Any]) -> None:
    data = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    expected = [trace.as_dict() for trace in traces]
    if len(traces) == 1:
        assert data == expected[0]
    else:
        assert [{key: run[key] for key in ("run", "error", "steps")} for run in data["runs"]] == expected
        assert len({run["label"] for run in data["runs"]}) == len(traces)


def check_csv(text: str, traces: list[Any]) -> None:
    """Every row equals the trace, every number to the last bit."""
    rows = list(csv.DictReader(io.StringIO(text)))
    expected = [
        (i, trace, step, b)
        for i, trace in enumerate(traces, 1)
        for step in trace.steps
        for b in range(len(step.active))
    ]
    assert len(rows) == len(expected)
    for row, (number, trace, step, sample) in zip(rows, expected, strict=True):
        assert (int(row["run"]), int(row["step"]), int(row["sample"])) == (number, step.index, sample)
        assert (row["solver"], row["mode"], row["model"]) == (trace.info.solver, trace.info.mode, trace.info.model)
        assert int(row["model_calls"]) == step.model_calls and bool(int(row["active"])) is step.active[sample]
        for name in ("stiffness", "h_stiffness", "correction", "data_std", "valid", "believed"):
            value = getattr(step, name)[sample]
            assert float(row[name]) == value if math.isfinite(value) else row[name] == ""
        assert row["held"] == step.held[sample]
        assert row["sigma"] == (repr(step.sigma) if math.isfinite(step.sigma) else "")


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An output folder, next to a folder into which nothing may be written."""
    folder = tmp_path / "output"
    folder.mkdir()
    (tmp_path / "beside").mkdir()
    monkeypatch.setattr(folder_paths, "output_directory", str(folder))
    return folder


def save(prefix: str = "erk_guid/stiffness", kind: str = "both", traces: Any = None) -> list[dict[str, str]]:
    _, runs = trace_runs.label_runs(traces or [make_trace(2)])
    return save_trace.save_runs(runs, kind, prefix, 640, 480)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


BAD_NAMES = [
    "../x", "..", "a/../../x", "..\\x", "a/..", "/etc/x", "//host/x", "\\\\host\\x", "C:\\x", "C:x", "a:b", "", " ",
    "/", ".", "./", "a\0b",
    "a\nb", "x?", "a*", "<a>", 'a"b', "a|b", "a/ b", "a /b", "a.", "con", "a/NUL.txt", "lpt1/x", "x" * 201,
    "\u4f60" * 67 + "/x", "\ud800",
    "%date:yyyy-MM-dd%/x", ".. /x", ". ./x",
]  # fmt: skip


class TestSaving:
    @pytest.mark.parametrize("kind", ["CSV", "JSON", "both"])
    def test_files_equal_the_traces(self, output, kind):
        traces = [make_trace(5, 3), make_trace(3, 1, "deis", "paper", w_stiff=0.5, w_con=0.1), erk.Trace()]
        files = save("a/b", kind, traces)
        assert [Path(file["filename"]).suffix for file in files] == {
            "CSV": [".csv"],
            "JSON": [".json"],
            "both": [".csv", ".json"],
        }[kind]
        for file in files:
            assert file["type"] == "output" and file["subfolder"] == "a"
            text = (output / file["subfolder"] / file["filename"]).read_text(encoding="utf-8")
            (check_csv if file["filename"].endswith(".csv") else check_json)(text, traces)

    @pytest.mark.parametrize("kind", ["PNG", "SVG", "all"])
    def test_the_plot_is_saved(self, output, kind):
        node = visualizer.StiffnessVisualizerERKGuid
        result = node.execute(make_trace(), width=640, height=480, save=kind, filename_prefix="plots/x")
        names = [file["filename"] for file in result.ui["files"]]
        endings = {"PNG": [".png"], "SVG": [".svg"], "all": [".csv", ".json", ".png", ".svg"]}[kind]
        assert [Path(name).suffix for name in names] == endings and len({Path(name).stem for name in names}) == 1
        for name in names:
            content = (output / "plots" / name).read_bytes()
            if name.endswith(".png"):
                shown = (255 * result.result[0][0].numpy()).round().astype(np.uint8)
                assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), shown)
            if name.endswith(".svg"):
                root = ElementTree.fromstring(content)
                assert root.tag.endswith("svg") and b"correction size/0" in content and b"h*rho-hat/0" in content

    def test_nothing_is_overwritten(self, output):
        names = [[file["filename"] for file in save()] for _ in range(3)]
        assert names[0] == ["stiffness_00001_.csv", "stiffness_00001_.json"]
        assert len({name for both in names for name in both}) == 6
        # A number that is taken by the one kind of file is taken for both.
        (output / "erk_guid" / "stiffness_00009_.json").write_text("mine")
        assert save(kind="CSV")[0]["filename"] == "stiffness_00010_.csv"
        assert (output / "erk_guid" / "stiffness_00009_.json").read_text() == "mine"

    def test_a_number_taken_meanwhile_is_left_alone(self, output, monkeypatch):
        (output / "x_00001_.json").write_text("mine")
        monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *_: (str(output), "x", 1, "", "x"))
        assert [file["filename"] for file in save("x")] == ["x_00002_.csv", "x_00002_.json"]
        assert names_in(output) == ["x_00001_.json", "x_00002_.csv", "x_00002_.json"]
        assert (output / "x_00001_.json").read_text() == "mine"

    def test_patterns(self, output):
        (file,) = save("%year%/%width%x%height%", "CSV")
        assert file["subfolder"].isdigit() and file["filename"] == "640x480_00001_.csv"

    @pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
    def test_a_bad_name_is_refused_in_one_sentence(self, output, name):
        with pytest.raises(ValueError, match=r"^ERK-Guid: filename_prefix .*erk_guid/stiffness\.$") as caught:
            save(name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        assert visualizer.StiffnessVisualizerERKGuid.validate_inputs(filename_prefix=name) == str(caught.value)
        assert names_in(output) == [] and names_in(output.parent) == ["beside", "output"]

    @pytest.mark.parametrize(
        "name",
        ["x", "a/b/c", "a\\b", "a//b", "./a", "a/./b/", "\u00e9t\u00e9/\u4f60\u597d", "a b", ".hidden", "x" * 200],
    )
    def test_a_good_name_is_taken(self, output, name):
        assert visualizer.StiffnessVisualizerERKGuid.validate_inputs(filename_prefix=name) is True
        for file in (*save(name), *save(name)):
            assert (output / file["subfolder"] / file["filename"]).is_file()
        assert sum(path.is_file() for path in output.rglob("*")) == 4

    def test_a_link_does_not_lead_out(self, output):
        (output / "way").symlink_to(output.parent / "beside")
        with pytest.raises(ValueError, match="link out of ComfyUI's output folder"):
            save("way/x")
        with pytest.raises(ValueError, match="link out of ComfyUI's output folder"):
            save("way/deeper/x")
        assert names_in(output.parent / "beside") == []

    def test_a_disk_that_refuses_is_told_in_one_sentence(self, output):
        (output / "file").write_text("")
        with pytest.raises(
            OSError, match=r"^ERK-Guid: the trace could not be saved as 'file/x' .*choose another filename_prefix\.$"
        ):
            save("file/x")

    names = st.one_of(
        st.text(max_size=30),
        st.lists(
            st.sampled_from(["..", ".", "a", "/", "\\", "C:", "~", " ", "%year%", "\0", "way", "x."]), max_size=8
        ).map("".join),
        st.lists(st.sampled_from(["..", "a", "b", "way", ""]), max_size=6).map("/".join),
    )

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(name=names)
    def test_no_name_leads_out(self, output, name):
        if not (output / "way").exists():
            (output / "way").symlink_to(output.parent / "beside")
        try:
            files = save(name, "CSV")
        except ValueError as error:
            assert str(error).startswith("ERK-Guid: filename_prefix")
        else:
            (file,) = files
            path = Path(os.path.realpath(output / file["subfolder"] / file["filename"]))
            assert path.is_file() and path.is_relative_to(os.path.realpath(output))
        assert names_in(output.parent) == ["beside", "output"] and names_in(output.parent / "beside") == []


class TestNode:
    def test_defaults_of_schema_and_of_execute_agree(self):
        """A prompt from before these inputs lacks them."""
        node = visualizer.StiffnessVisualizerERKGuid
        parameters = inspect.signature(node.execute).parameters
        declared = {entry.id: entry for entry in node.define_schema().inputs}
        assert list(declared)[:2] == ["trace", "latent"] and set(declared) == set(parameters)
        for name, entry in declared.items():
            assert entry.optional is (name != "trace")
            if hasattr(entry, "default") and entry.default is not None:
                assert parameters[name].default == entry.default

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [({"plot": "x"}, "plot is 'x'"), ({"axis": "x"}, "axis is 'x'"), ({"theme": "x"}, "theme is 'x'"),
        ({"save": "x"}, "save is 'x'"),
         ({"width": 10}, "width is 10"), ({"height": 9999}, "height is 9999")],
    )  # fmt: skip
    def test_wrong_values_over_a_link(self, wrong, said):
        with pytest.raises(ValueError, match=f"^ERK-Guid: {said}, but must be .*\\.$"):
            visualizer.StiffnessVisualizerERKGuid.execute(make_trace(), **wrong)

    def test_a_wrong_trace(self):
        with pytest.raises(TypeError, match="trace_2 is a str: connect the trace output"):
            visualizer.StiffnessVisualizerERKGuid.execute(make_trace(), trace_2="no")


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def two_samplers(
    steps: tuple[int, int] = (6, 9), seed: int = 1, modes: tuple[str, str] = ("calibrated", "paper")
) -> dict[str, Any]:
    wires = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent_image": ["demo", 4]}
    prompt = {"demo": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=64, height=64, batch_size=2)}
    for name, count, mode in zip("ab", steps, modes, strict=True):
        prompt[name] = node(
            "KSamplerERKGuid",
            **wires,
            seed=seed,
            steps=count,
            cfg=3.0,
            solver="heun",
            scheduler="karras",
            denoise=1.0,
            mode=mode,
        )
    return prompt


def compare(**more: Any) -> dict[str, Any]:
    return {"view": node("StiffnessVisualizerERKGuid", trace=["a", 1], trace_2=["b", 1], **more)}


class TestServer:
    def test_a_and_b_as_picture_json_and_files(self, server: Server):
        prompt = {
            **two_samplers(),
            **compare(labels="A\nB", axis="sigma", width=900, height=640, theme="dark", save="both"),
        }
        prompt["show"] = node("PreviewAny", source=["view", 1])
        prompt["keep"] = node("SaveImage", images=["view", 0], filename_prefix="plot")
        outputs = server.run(prompt)
        text = outputs["show"]["text"][0]
        data = json.loads(text)
        assert [(run["label"], run["run"]["mode"], len(run["steps"])) for run in data["runs"]] == [
            ("A", "calibrated", 6),
            ("B", "paper", 9),
        ]
        for reference in (*outputs["view"]["images"], *outputs["keep"]["images"]):
            picture = Image.open(io.BytesIO(server.image(reference)))
            assert picture.size == (900, 640) and np.asarray(picture.convert("L")).mean() < 80
        names = [file["filename"] for file in outputs["view"]["files"]]
        assert [Path(name).suffix for name in names] == [".csv", ".json"]
        for file in outputs["view"]["files"]:
            assert (server.base / "output" / "erk_guid" / file["filename"]).read_bytes() == server.image(file)
        assert server.image(outputs["view"]["files"][1]).decode() == text
        rows = list(csv.DictReader(io.StringIO(server.image(outputs["view"]["files"][0]).decode())))
        assert len(rows) == (6 + 9) * 2
        for row in rows:
            step = data["runs"][int(row["run"]) - 1]["steps"][int(row["step"])]
            value = step["stiffness"][int(row["sample"])]
            assert row["stiffness"] == ("" if value is None else repr(value))

    def test_custom_samplers_are_waited_for(self, server: Server):
        """Both traces of Sampler ERK-Guid are complete when the plot is made, whichever sampler runs last."""
        prompt = two_samplers()
        wires = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent_image": ["demo", 4]}
        for name, steps in (("a", 5), ("b", 7)):
            prompt[name] = node("SamplerERKGuid", solver="deis", mode="calibrated")
            prompt[f"{name}_sigmas"] = node(
                "BasicScheduler", model=["demo", 0], scheduler="karras", steps=steps, denoise=1.0
            )
            prompt[f"{name}_run"] = node(
                "SamplerCustom",
                **wires,
                add_noise=True,
                noise_seed=3,
                cfg=3.0,
                sampler=[name, 0],
                sigmas=[f"{name}_sigmas", 0],
            )
        prompt |= compare(latent=["a_run", 0], latent_2=["b_run", 0])
        prompt["show"] = node("PreviewAny", source=["view", 1])
        data = json.loads(server.run(prompt)["show"]["text"][0])
        assert [len(run["steps"]) for run in data["runs"]] == [5, 7]

    def test_a_new_run_is_drawn_anew_and_an_old_one_is_not(self, server: Server):
        def queue(seed: int) -> list[Any]:
            entry = server.wait(
                server.queue({**two_samplers(seed=seed), **compare(save="CSV", filename_prefix="cache/run")})
            )
            assert entry["status"]["status_str"] == "success"
            return [file["filename"] for file in entry["outputs"]["view"]["files"]]

        first, again, other = queue(11), queue(11), queue(12)
        assert again == first, "nothing changed: ComfyUI's cache answers, and no second file is written"
        assert other != first
        texts = [(server.base / "output" / "cache" / name).read_text() for (name,) in (first, other)]
        assert texts[0] != texts[1]

    @pytest.mark.parametrize(
        ("wrong", "name"),
        [({"plot": "nonsense"}, "plot"), ({"axis": "nonsense"}, "axis"), ({"theme": "nonsense"}, "theme"),
        ({"save": "nonsense"}, "save"),
         ({"width": 10}, "width"), ({"height": 100_000}, "height"), ({"filename_prefix": "../../x"}, "filename_prefix"),
         ({"filename_prefix": "/tmp/x"}, "filename_prefix"), ({"filename_prefix": "a\0"}, "filename_prefix")],
    )  # fmt: skip
    def test_a_wrong_value_is_refused_before_sampling(self, server: Server, wrong, name):
        status, answer = server.post("/prompt", {"prompt": {**two_samplers(), **compare(**wrong)}})
        assert status == 400
        errors = answer["node_errors"]["view"]["errors"]
        assert [error["extra_info"]["input_name"] for error in errors] == [name]
        if name == "filename_prefix":
            assert "give a name below ComfyUI's output folder" in errors[0]["details"]

    def test_a_bad_name_over_a_link_fails_clearly_and_the_next_queue_works(self, server: Server):
        prompt = {**two_samplers(seed=21), **compare(save="both", filename_prefix=["name", 0])}
        prompt["name"] = node("PrimitiveString", value="../../outside")
        entry = server.wait(server.queue(prompt))
        assert entry["status"]["status_str"] == "error"
        message = error_message(entry)
        assert (
            message.startswith("StiffnessVisualizerERKGuid: ")
            and "filename_prefix '../../outside' leads out" in message
        )
        assert not list(server.base.parent.glob("outside*")) and not list(server.base.glob("outside*"))
        prompt["name"]["inputs"]["value"] = "inside"
        assert len(server.run(prompt)["view"]["files"]) == 2

    @pytest.mark.parametrize("name", ["erk_guid_demo", "erk_guid_custom_sampler"])
    def test_workflows_saved_before_these_inputs_still_run(self, server: Server, object_info, name):
        graph = load(name)
        for entry in graph["nodes"]:
            if entry["type"] == "StiffnessVisualizerERKGuid":
                entry["inputs"] = entry["inputs"][:2]
                assert [slot["name"] for slot in entry["inputs"]] == ["trace", "latent"]
                entry["widgets_values"] = []
        prompt = to_prompt(graph, object_info)
        (key,) = [key for key, entry in prompt.items() if entry["class_type"] == "StiffnessVisualizerERKGuid"]
        prompt[key]["inputs"] = {
            key: value for key, value in prompt[key]["inputs"].items() if key in ("trace", "latent")
        }
        outputs = server.run(prompt)
        picture = Image.open(io.BytesIO(server.image(outputs[key]["images"][0])))
        assert picture.size == (1120, 800) and "files" not in outputs[key]


NODES = [
    "KSamplerERKGuid",
    "KSamplerAdvancedERKGuid",
    "SamplerERKGuid",
    "StiffnessVisualizerERKGuid",
    "ConvergenceTestERKGuid",
    "DemoModelERKGuid",
]
FURTHER_SETTINGS = [name for name in erk.SETTINGS if name not in ("w_stiff", "w_con")]
"""Inputs of rules that are newer than the help pages. Their tooltips explain them."""


def test_one_sentence_says_what_to_do(object_info):
    """The same on the nodes, in the help pages, in the docs and in the notes of example workflows."""
    sentence = pack_module("nodes.traces.words").WHAT_TO_DO
    for kind in ("StiffnessVisualizerERKGuid", "KSamplerERKGuid", "KSamplerAdvancedERKGuid"):
        assert sentence in object_info[kind]["description"], kind
    pages = ["docs/reading_the_chart.md", "js/docs/StiffnessVisualizerERKGuid.md", "js/docs/KSamplerERKGuid.md"]
    for path in pages:
        assert sentence in " ".join((ROOT / path).read_text(encoding="utf-8").split()), path
    assert sentence in (ROOT / "js" / "live" / "words.js").read_text(encoding="utf-8")
    for path in ("erk_guid_demo", "erk_guid_sd15"):
        assert sentence in (ROOT / "examples_workflows" / f"{path}.json").read_text(encoding="utf-8"), path


class TestHelp:
    @pytest.mark.parametrize("kind", NODES)
    def test_page_names_every_input_output_and_choice(self, server: Server, object_info, kind):
        text = server.fetch(f"/extensions/ComfyUI-ERK-Guid/docs/{kind}.md").decode()
        info = object_info[kind]
        assert text.startswith(f"# {info['display_name']}\n")
        table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
        cells = {name.strip() for line in table.splitlines() for name in line.split("|")[1].split(",")}
        names = [
            spec[1].get("display_name") or name
            for group in ("required", "optional")
            for name, spec in info["input"].get(group, {}).items()
            if name not in FURTHER_SETTINGS
        ]
        assert set(names) | set(info["output_name"]) <= cells
        named = {info["display_name"] for info in (object_info[other] for other in NODES)}
        assert sum(name in text for name in named) > 1, (
            "it names related nodes, for the page's viewer has no links between pages"
        )
        # The viewer opens a link as the page's own address, so that a relative one would lead nowhere.
        assert not [
            target for target in re.findall(r"(?<!!)\[[^]]*\]\(([^)]*)\)", text) if not target.startswith("https://")
        ]

    @pytest.mark.parametrize("kind", NODES)
    def test_pictures_are_served(self, server: Server, kind):
        """The viewer puts /extensions/<pack>/docs/ before a relative address."""
        text = server.fetch(f"/extensions/ComfyUI-ERK-Guid/docs/{kind}.md").decode()
        targets = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
        assert targets, "each page has a picture, with a text in its place"
        for target in targets:
            data = server.fetch(f"/extensions/ComfyUI-ERK-Guid/docs/{target}")
            assert len(data) < 200_000
            picture = Image.open(io.BytesIO(data))
            assert min(picture.size) > 100 and np.asarray(picture.convert("L")).std() > 5

    def test_the_choices_of_the_visualizer_are_explained(self, server: Server, object_info):
        text = server.fetch("/extensions/ComfyUI-ERK-Guid/docs/StiffnessVisualizerERKGuid.md").decode()
        for name, (kind, options, *_) in object_info["StiffnessVisualizerERKGuid"]["input"]["optional"].items():
            choices = kind if isinstance(kind, list) else options.get("options", [])
            assert all(f"`{choice}`" in text for choice in choices), name
        for field in (
            "stiffness",
            "h_stiffness",
            "active",
            "correction",
            "data_std",
            "valid",
            "believed",
            "held",
            "sigma_next",
            "model_calls",
        ):
            assert field in text, "the files' format is written down"
