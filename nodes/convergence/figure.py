"""The comparison as a plot: error over model calls, one line a sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..traces.canvas import dress, finish, log_axis, new_figure, pixels
from ..traces.language import tell, wrapped
from ..traces.style import STYLES, THEMES, Theme
from ..traces.texts import cut, drawable, families, renderer, short
from .comparison import Comparison

WIDTH, HEIGHT = 1120, 760
"""In pixels."""


def plot(comparison: Comparison, title: str, about: str, theme: str) -> np.ndarray:
    """[HEIGHT, WIDTH, 3] uint8. The parameters are :func:`draw`'s."""
    return pixels(draw(comparison, title, about, theme))


def draw(comparison: Comparison, title: str, about: str, theme: str) -> Figure:
    """The figure, drawn on an Agg canvas.

    title  the sentence
    about  what was the same for all, below it
    theme  one of THEMES

    The line of a sampler has its label as gid; the reference's own error the gid "floor".
    """
    colours = THEMES[theme]
    figure = new_figure(WIDTH, HEIGHT, colours)
    axes = figure.add_subplot()
    dress(axes, colours, 10)
    axes.set_xlabel(tell("model calls"), fontsize=11, color=colours.text)
    axes.set_ylabel(tell("distance to the converged picture, in its own spread"), fontsize=11, color=colours.text)
    drawn = [label for i, label in enumerate(comparison.labels) if _curve(axes, comparison, label, i, colours)]
    if drawn:
        _levels(axes, comparison, colours)
        _scales(axes, [call for label in drawn for call, _ in comparison.curve(label)])
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(
            0.5, 0.5, tell("Nothing to compare yet: no run was finished."), transform=axes.transAxes, ha="center",
            va="center", color=colours.muted, fontsize=14,
        )  # fmt: skip
    top = _heading(figure, title, about, colours)
    bottom = _legend(figure, axes, colours)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, bottom, 1, 1 - top - bottom), w_pad=0.1, h_pad=0.05)
    finish(figure)
    return figure


def _curve(axes: Axes, comparison: Comparison, label: str, number: int, theme: Theme) -> bool:
    """A sampler's medians, and the spread over its batch; whether there was anything."""
    curve = comparison.curve(label)
    if not curve:
        return False
    # Colour and line go apart after the fourth, so that no two of sixteen are alike.
    colour = theme.runs[number % len(theme.runs)]
    line, marker, width = STYLES[(number + number // len(theme.runs)) % len(STYLES)]
    calls, medians = zip(*curve, strict=True)
    rows = [row for row in comparison.rows if row.plan.entry.label == label and 0 < row.median < math.inf]
    rows.sort(key=lambda row: row.calls)
    if any(len(row.errors) > 1 for row in rows):
        finite = [[error for error in row.errors if 0 < error < math.inf] for row in rows]
        axes.fill_between(calls, [min(values) for values in finite], [max(values) for values in finite], color=colour,
                          alpha=0.1, linewidth=0, zorder=2)  # fmt: skip
    axes.plot(
        calls, medians, color=colour, linestyle=line, linewidth=width, marker=marker, markersize=7,
        label=drawable(cut(comparison.shown(label), 60)), gid=label, zorder=3 + 0.01 * (len(STYLES) - number),
    )  # fmt: skip
    return True


def _levels(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """The reference's own error: what is drawn below it says nothing. And what a plain last step leaves."""
    values = [value for line in axes.lines for value in np.asarray(line.get_ydata(), dtype=float)]
    low, high = min(values), max(values)
    floor, added = comparison.floor, comparison.added
    if added >= low:
        axes.axhline(added, color=theme.muted, linestyle=(0, (1, 3)), linewidth=1.5, gid="added",
                     label=tell("what a plain last step leaves"))  # fmt: skip
    if 0 < floor < math.inf:
        low = min(low, floor)
        axes.axhline(floor, color=theme.muted, linestyle=(0, (4, 4)), linewidth=1.3, gid="floor",
                     label=tell("the converged picture's own error"))  # fmt: skip
        axes.axhspan(low / 1.6, floor, color=theme.muted, alpha=0.13, linewidth=0)
    axes.set_ylim(low / 1.6, high * 1.5)


def _scales(axes: Axes, calls: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = min(calls), max(calls)
    margin = max((high / low) ** 0.04, 1.05)
    axes.set_xlim(low / margin, high * margin)
    # Each number of calls once, and none so near to another that their texts would touch.
    ticks: list[int] = []
    for call in sorted(set(calls), reverse=True):
        if not ticks or ticks[-1] / call > max((high / low) ** 0.04, 1.04):
            ticks.append(call)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    log_axis(axes.yaxis, axes.set_yscale)


def _heading(figure: Figure, title: str, about: str, theme: Theme) -> float:
    """The sentence, and below it what was the same for all; returns the share of the height that both take."""
    y = 1 - 12 / HEIGHT
    for text, size, weight, colour, width in (
        (title, 14, "bold", theme.text, 92), (about, 10.5, "normal", theme.muted, 150),
    ):  # fmt: skip
        lines = "\n".join(wrapped(drawable(text), width))
        drawn = figure.text(
            0.5, y, lines, ha="center", va="top", fontsize=size, fontweight=weight, color=colour, linespacing=1.3,
            parse_math=False, fontfamily=families(),
        )  # fmt: skip
        drawn.set_in_layout(False)
        y -= drawn.get_window_extent(renderer(figure)).height / figure.bbox.height + 8 / HEIGHT
    return 1 - y


def _legend(figure: Figure, axes: Axes, theme: Theme) -> float:
    """At the bottom, in as many columns as fit; returns where it ends."""
    handles, labels = axes.get_legend_handles_labels()
    margin = 10 / HEIGHT
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles, labels, loc="lower center", bbox_to_anchor=(0.5, margin), ncol=columns, fontsize=10.5,
            frameon=False, handlelength=3.4, columnspacing=1.8, borderaxespad=0, labelcolor=theme.text,
        )  # fmt: skip
        legend.set_in_layout(False)
        for text in legend.get_texts():
            text.set_parse_math(False)
            text.set_fontfamily(families())
        extent = legend.get_window_extent(renderer(figure))
        if extent.width <= 0.98 * figure.bbox.width or columns == 1:
            return margin + extent.height / figure.bbox.height + margin
        legend.remove()
    return margin
