"""A trace as a picture. matplotlib's object interface on an Agg canvas: no global state, no display."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .. import erk

# Okabe and Ito's colours, told apart by colour-blind people too.
_BLUE, _VERMILION, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6b7280"

_SOLVER_TITLES = {"heun": "Heun", "dpm_2": "DPM-Solver-2", "dpmpp_2s": "DPM++ 2S", "deis": "DEIS", "abm": "ABM"}


def plot_trace(trace: erk.Trace, width: int = 1120, height: int = 800) -> np.ndarray:
    """Draw a trace; returns [height, width, 3] uint8.

    Above: rho-hat per step on a logarithmic axis, the spread over the batch as a band, guided steps as
    filled points, the threshold as a dashed line. Below: h * rho-hat, which is what stability depends
    on, and the size of the correction against the step.
    """
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    steps = trace.steps
    if not steps:
        figure.text(
            0.5, 0.5,
            "The trace is empty: no step has been sampled yet.\n\nConnect the sampler's latent to this node as well,\n"
            "so that it runs after the sampling.",
            ha="center", va="center", fontsize=15, color=_GREY,
        )  # fmt: skip
    else:
        _draw(figure, trace, steps)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(figure: Figure, trace: erk.Trace, steps: list[erk.StepRecord]) -> None:
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
    stiffness, h_stiffness = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0])
    correction = figure.add_subplot(grid[1, 1])
    figure.suptitle(_title(trace, steps), fontsize=12.5, fontweight="bold")

    active = np.array([any(step.active) for step in steps])
    values = np.array([step.stiffness for step in steps])
    _series(stiffness, values, active, "stiffness $\\hat\\rho$, unit $1/\\sigma$")
    if trace.info is not None and trace.info.w_con is not None and trace.info.w_con > 0:
        stiffness.axhline(
            trace.info.w_con, color=_VERMILION, linestyle="--", linewidth=1.3, label=f"threshold w_con = {trace.info.w_con:.3g}"
        )
    stiffness.set_title("Stiffness per step: how fast the ODE changes along its stiffest direction", fontsize=11, loc="left")
    _label_sigma(stiffness, steps, labels=12)
    if stiffness.get_legend_handles_labels()[0]:
        stiffness.legend(loc="best", fontsize=9, framealpha=0.85)

    _series(h_stiffness, np.array([step.h_stiffness for step in steps]), active, "$h\\,\\hat\\rho$")
    h_stiffness.set_title("Stiffness times step length: large steps err above 1", fontsize=11, loc="left")
    h_stiffness.axhline(1.0, color=_GREY, linestyle=":", linewidth=1.2)
    _label_sigma(h_stiffness, steps, labels=6)

    share = 100 * np.array([step.correction for step in steps])
    correction.bar(range(len(steps)), _over_batch(share)[1], color=_GREEN, width=0.7)
    correction.set_ylabel("% of the step")
    correction.set_title("Size of the correction", fontsize=11, loc="left")
    correction.set_ylim(bottom=0)
    _label_sigma(correction, steps, labels=6)
    if any(math.isfinite(value) for step in steps for value in step.data_std):
        _draw_estimate(correction, steps)
    if not active.any():
        correction.set_ylim(0, 1)
        correction.text(0.5, 0.5, _why_nothing(trace), transform=correction.transAxes, ha="center", va="center", color=_GREY, fontsize=11)


def _draw_estimate(axes: Axes, steps: list[erk.StepRecord]) -> None:
    """The estimated scale of the data, on an axis of its own at the right."""
    right = axes.twinx()
    median = _over_batch(np.array([step.data_std for step in steps]))[1]
    right.plot(range(len(steps)), median, color=_VERMILION, linewidth=1.4, marker=".", label="estimated scale of the data, S")
    right.set_ylabel("S")
    right.set_yscale("log")
    right.legend(loc="upper right", fontsize=8.5, framealpha=0.85)


def _title(trace: erk.Trace, steps: list[erk.StepRecord]) -> str:
    info = trace.info
    if info is None:
        return "ERK-Guid"
    batch = len(steps[0].stiffness)
    parts = [_SOLVER_TITLES.get(info.solver, info.solver), f"mode {info.mode}"]
    if info.w_stiff is not None:
        parts.append(f"w_stiff {info.w_stiff:.3g}")
    parts += [f"{len(steps)} steps, {steps[-1].model_calls} model calls", f"{info.model} model"]
    if batch > 1:
        parts.append(f"batch of {batch}")
    return "  \N{MIDDLE DOT}  ".join(parts)


def _why_nothing(trace: erk.Trace) -> str:
    if trace.info is not None and trace.info.mode == "off":
        return "guidance is off:\nmeasured, not corrected"
    return "no step was corrected"


def _over_batch(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least, median and greatest finite value of each step; NaN where there is none."""
    rows = [row[np.isfinite(row)] for row in values]
    pick = [(row.min(), np.median(row), row.max()) if row.size else (math.nan,) * 3 for row in rows]
    least, median, greatest = np.array(pick).T
    return least, median, greatest


def _series(axes: Axes, values: np.ndarray, active: np.ndarray, label: str) -> None:
    index = np.arange(len(values))
    least, median, greatest = _over_batch(np.where(values > 0, values, math.nan))
    axes.set_ylabel(label)
    axes.grid(True, which="major", color="#e5e7eb")
    axes.set_axisbelow(True)
    if np.isnan(median).all():
        axes.text(0.5, 0.5, "nothing measured: no finite value in any step", transform=axes.transAxes, ha="center", color=_GREY)
        return
    axes.set_yscale("log")
    if values.shape[1] > 1:
        axes.fill_between(index, least, greatest, color=_BLUE, alpha=0.18, linewidth=0, label="spread over the batch")
    axes.plot(index, median, color=_BLUE, linewidth=1.6)
    axes.plot(index[~active], median[~active], "o", color="white", markeredgecolor=_BLUE, markersize=6, label="not corrected")
    if active.any():
        axes.plot(index[active], median[active], "o", color=_VERMILION, markersize=7, label="corrected (guided)")


def _label_sigma(axes: Axes, steps: list[erk.StepRecord], labels: int) -> None:
    """Number the steps and write the noise level under each number."""

    def text(position: float, _: object = None) -> str:
        index = round(position)
        if abs(position - index) > 1e-6 or not 0 <= index < len(steps):
            return ""
        return f"{index}\n{_short(steps[index].sigma)}"

    axes.set_xlim(-0.6, len(steps) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=labels, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.set_xlabel("step, and below it its noise level \N{GREEK SMALL LETTER SIGMA}", fontsize=9)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
