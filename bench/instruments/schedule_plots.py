"""The plots of SCHEDULES.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from . import plots
from .schedule_cells import TITLES, Compared, estimate_groups, held_out, judged
from .schedule_rows import ErrorRow
from .tables import geometric_mean


def plot_ratios(compared: Sequence[Compared], path: Path) -> None:
    """A dot a cell, over the traced and over the best."""
    figure, axes = plots.new_figure(9.0, 4.4, 2, sharey=True)
    low, high = 0.5, 1.5
    for ax, (kind, title) in zip(axes, TITLES.items(), strict=True):
        for place, other in enumerate(("traced", "best")):
            for i, chosen in enumerate((False, True)):
                cells = [
                    c for c in compared if c.row.kind == kind and not c.solved and held_out(c.row.problem) is not chosen
                ]
                values = sorted(min(max(getattr(c, other), 0.021), 28.0) for c in cells)
                if not values:
                    continue
                low, high = min(low, *values), max(high, *values)
                at = place + 0.4 * (i - 0.5)
                spread = [at + 0.12 * (((7 * k) % 11) / 5 - 1) for k in range(len(values))]
                ax.plot(
                    spread, values, linestyle="", marker=plots.MARKERS[i], color=plots.COLOURS[i], alpha=0.6,
                    markersize=4.5, markeredgewidth=0, label="helped to choose" if chosen else "held out",
                )  # fmt: skip
                ax.plot([at - 0.17, at + 0.17], [geometric_mean(values)] * 2, color=plots.INK, linewidth=2)
        ax.set_title(title, color=plots.INK)
        ax.set_xticks([0, 1], ["over the traced schedule", "over the best in hindsight"])
        ax.grid(axis="x", visible=False)
    for ax in axes:  # what is off the scale stands at its end
        plots.ratio_axis(ax, max(low / 1.2, 0.02), min(high * 1.2, 30.0))
    axes[0].set_ylabel("error, planned / other")
    axes[1].legend(*_once(axes[1]), frameon=False)
    figure.suptitle("A schedule planned from one run of 16 calls, on other noises; bars are means", color=plots.INK)
    plots.save(figure, path)


def _once(ax: Axes) -> tuple[list, list[str]]:
    """Handles and labels of a legend, each label once."""
    named = {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    return list(named.values()), list(named)


def plot_errors(errors: Sequence[ErrorRow], path: Path) -> None:
    """Estimate against truth, a dot a run."""
    figure, axes = plots.new_figure(9.0, 4.8, 2, sharey=True, sharex=True)
    for ax, mode in zip(axes, ("off", "calibrated"), strict=True):
        for i, (title, belongs) in enumerate(list(estimate_groups().items())):
            cells = [row for row in judged(errors) if row.mode == mode and belongs(row.problem)]
            if "CFG" in title or not cells:
                continue
            ax.plot(
                [100 * row.true for row in cells], [min(100 * row.estimate, 1e4) for row in cells], linestyle="",
                marker=plots.MARKERS[i], color=plots.COLOURS[i], alpha=0.4, markersize=3.5, markeredgewidth=0,
                label=title,
            )  # fmt: skip
        line = [1e-2, 2e2]
        ax.plot(line, line, color=plots.INK, linewidth=1)
        for factor in (3.0, 1 / 3):
            ax.plot(line, [factor * value for value in line], color=plots.INK, linewidth=0.8, linestyle=":")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("true error, % of the picture's contrast")
        ax.set_title(f"mode {mode}", color=plots.INK)
        ax.legend(frameon=False, loc="upper left")
    axes[0].set_ylabel("estimated by the run itself, %")
    figure.suptitle("What a run says of its own error; dotted: a factor of 3", color=plots.INK)
    plots.save(figure, path)
