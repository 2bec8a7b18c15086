"""The benchmarks' plots, with matplotlib's object interface on the Agg canvas.

Colour-blind people can distinguish their colours.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from torch import Tensor

# Okabe & Ito's palette without its yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = {"calibrated": "-", "paper": "--", "paper_tuned": ":"}
MODE_NAMES = {"calibrated": "calibrated", "paper": "paper, its preset", "paper_tuned": "paper, tuned after the fact"}
INK, GRID = "#222222", "#DDDDDD"


@dataclass(frozen=True)
class Ratio:
    """The error of one mode divided by that of mode off, in one cell."""

    sampler: str
    mode: str
    family: str
    calls: int
    ratio: float


def new_figure(width: float, height: float, columns: int, rows: int = 1, **options) -> tuple[Figure, list[Axes]]:
    """A white figure and its axes, row by row."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [ax for line in figure.subplots(rows, columns, squeeze=False, **options) for ax in line]
    for ax in axes:
        ax.grid(color=GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Save as PNG, without a date or a version, so that equal results give equal files."""
    figure.savefig(path, metadata={"Software": None})


def plain(value: float, _position: int = 0) -> str:
    return f"{value:g}"


def ratio_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic y axis for ratios, with plain numbers as ticks."""
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_yticks(
        [
            tick
            for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)
            if low <= tick <= high
        ]
    )
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(1.0, color=INK, linewidth=1.0)


def calls_axis(ax: Axes, calls: Sequence[int], label: str = "model calls") -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(set(calls)))
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def ratio_by_calls(
    points: Sequence[Ratio], path: Path, title: str, label: str, calls_label: str = "model calls"
) -> None:
    """A mode's ratio to mode off against model calls, as geometric means over the cells, with one panel per family."""
    families = list(dict.fromkeys(point.family for point in points))
    samplers = list(dict.fromkeys(point.sampler for point in points))
    modes = [mode for mode in STYLES if any(point.mode == mode for point in points)]
    figure, axes = new_figure(4.6 * len(families) + 2.2, 4.2, len(families), sharey=True)
    lowest, highest = 0.8, 1.25
    for ax, family in zip(axes, families, strict=True):
        for i, sampler in enumerate(samplers):
            for mode in modes:
                cells: dict[int, list[float]] = {}
                for point in points:
                    if (point.family, point.sampler, point.mode) == (family, sampler, mode):
                        # A run that ended in NaN is off the scale of any plot.
                        cells.setdefault(point.calls, []).append(min(max(point.ratio, 1e-4), 1e4))
                line = {calls: statistics.geometric_mean(values) for calls, values in sorted(cells.items())}
                if not line:
                    continue
                lowest, highest = min(lowest, *line.values()), max(highest, *line.values())
                faint = mode != "calibrated"
                ax.plot(
                    list(line), list(line.values()), STYLES[mode], color=COLOURS[i % len(COLOURS)],
                    marker=MARKERS[i % len(MARKERS)],
                    markersize=3.5 if faint else 6, linewidth=1.2 if faint else 2.2, alpha=0.75 if faint else 1.0,
                )  # fmt: skip
        ax.set_title(family, color=INK)
        calls_axis(ax, [point.calls for point in points], calls_label)
    for ax in axes:
        ratio_axis(ax, lowest / 1.15, min(highest * 1.15, 30.0))
    axes[0].set_ylabel(label)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=name)
        for i, name in enumerate(samplers)
    ]
    handles += [Line2D([], [], color=INK, linestyle=STYLES[mode], label=MODE_NAMES[mode]) for mode in modes]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    figure.suptitle(title, color=INK)
    save(figure, path)


def contact_sheet(
    lines: Sequence[tuple[str, Sequence[Tensor]]], columns: Sequence[str], across: int, path: Path, title: str,
    bounds: tuple[float, float] = (-1.0, 1.0), inches: float = 0.4,
) -> None:  # fmt: skip
    """Pictures side by side.

    lines    label, and for each column the pictures [N, 1 or 3, H, W], shown ``across`` in a row
    bounds   the values that are black and white
    inches   width of a picture
    """
    down, wide = (length * inches for length in (len(lines[0][1][0]) // across, across))
    figure, axes = new_figure(
        (wide + 0.1) * len(columns) + 0.4, (down + 0.15) * len(lines) + 0.6, len(columns), len(lines)
    )
    for i, (label, cells) in enumerate(lines):
        for j, pictures in enumerate(cells):
            ax = axes[i * len(columns) + j]
            ax.imshow(_tile(pictures, across, bounds), interpolation="nearest")
            ax.grid(visible=False)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if i == 0:
                ax.set_title(columns[j], color=INK)
            if j == 0:
                ax.set_ylabel(label, color=INK, fontsize=8)
    figure.suptitle(title, color=INK)
    save(figure, path)


def _tile(pictures: Tensor, across: int, bounds: tuple[float, float]) -> np.ndarray:
    """[N, C, H, W] -> [rows * height, across * width, 3]. Each picture has a white frame.

    Pictures are enlarged so that all their pixels have the same width.
    """
    low, high = bounds
    framed = torch.nn.functional.pad(((pictures.float() - low) / (high - low)).clamp(0, 1), (1, 1, 1, 1), value=1.0)
    enlarged = framed.expand(-1, 3, -1, -1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    height, width = enlarged.shape[2:]
    tiles = enlarged.view(-1, across, 3, height, width).permute(0, 3, 1, 4, 2)
    return tiles.reshape(-1, across * width, 3).numpy()


def races(cells: Sequence[tuple[str, int, float]], mode: str, path: Path) -> None:
    """One dot per cell: this pack's best error divided by the best stock error. cells: (family, calls, ratio)."""
    families = list(dict.fromkeys(family for family, _, _ in cells))
    budgets = sorted({calls for _, calls, _ in cells})
    figure, (ax,) = new_figure(7.6, 4.2, 1)
    low, high = min(r for *_, r in cells), max(r for *_, r in cells if math.isfinite(r))
    for i, family in enumerate(families):
        for at, budget in enumerate(budgets):
            values = sorted(r for f, calls, r in cells if f == family and calls == budget)
            if not values:
                continue
            place = at + (i - (len(families) - 1) / 2) * 0.4
            # Spread by rank, so that dots of similar height are next to each other.
            spread = [place + 0.14 * (((7 * k) % 11) / 5 - 1) for k in range(len(values))]
            ax.plot(
                spread, values, linestyle="", marker=MARKERS[i], markersize=4.5, color=COLOURS[i], alpha=0.7,
                markeredgewidth=0,
                label=family if at == 0 else None,
            )  # fmt: skip
            ax.plot([place - 0.18, place + 0.18], [statistics.geometric_mean(values)] * 2, color=INK, linewidth=2)
    ratio_axis(ax, min(low / 1.2, 0.8), max(high * 1.2, 1.25))
    ax.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    ax.set_xlabel("model calls")
    ax.set_ylabel("best of ours / best stock sampler")
    ax.grid(axis="x", visible=False)
    won = sum(r < 1 for *_, r in cells)
    ax.set_title(
        f"Best ERK sampler, mode {mode}, against ComfyUI's best: first in {won} of {len(cells)} cells",
        color=INK,
        fontsize=11,
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handles=[
        *(Line2D([], [], linestyle="", marker=MARKERS[i], color=COLOURS[i], label=family) for i,
        family in enumerate(families)),
        Line2D([], [], color=INK, linewidth=2, label="geometric mean"),
    ])  # fmt: skip
    save(figure, path)
