"""SCHEDULES.md and its plots, from the rows of bench.schedules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes

from . import plots
from .problems import NAMES, problem
from .schedule_rows import CHOSEN_BY, ErrorRow, Row
from .tables import EXACT, geometric_mean, number, percent, table, write_page

TITLES = {"eps": "sigma-space (karras traced)", "flow": "flow (simple traced)"}
TRACED = {"eps": "karras", "flow": "simple"}
TARGETS = {"eps": (math.nan, 0.85), "flow": (0.45, 0.65)}
"""Wanted at most: error over that of the traced schedule, and over that of the best in hindsight."""

SMALL, LARGE = 0.01, 0.05
"""A run must never say the one where the other is true."""


class Compared:
    """The planned schedule against the traced one and the best of ComfyUI's, in one cell."""

    def __init__(self, planned: Row, others: dict[str, Row]) -> None:
        self.row, self.others = planned, others
        self.traced = planned.error / others[TRACED[planned.kind]].error
        self.best = planned.error / min(row.error for row in others.values())

    @property
    def solved(self) -> bool:
        return self.others[TRACED[self.row.kind]].error < EXACT * self.row.contrast

    @property
    def name(self) -> str:
        return f"{self.row.problem}, {self.row.kind}, {self.row.budget}"


def compare(made: Sequence[Row]) -> list[Compared]:
    cells: dict[tuple, dict[str, Row]] = {}
    for row in made:
        cells.setdefault((row.problem, row.kind, row.budget, row.sampler), {})[row.schedule] = row
    compared = [Compared(of.pop("planned"), of) for of in cells.values() if "planned" in of]
    return [c for c in compared if not is_check(c.row.problem)]


def is_check(name: str) -> bool:
    return name in NAMES and "exact" in problem(name).groups


def _groups() -> dict[str, Callable[[str], bool]]:
    return {
        "helped to choose": lambda name: name in CHOSEN_BY,
        "held out, suite": lambda name: name in NAMES and name not in CHOSEN_BY,
        "held out, suite with CFG": lambda name: name in NAMES and name not in CHOSEN_BY and problem(name).cfg > 1,
        "networks of others": lambda name: name not in NAMES,
    }


def write(made: list[Row], errors: list[ErrorRow], folder: Path, sentence: str) -> list[Path]:
    """Returns the files."""
    compared = compare(made)
    page = folder / "SCHEDULES.md"
    lines = [
        "# Schedules from a traced run, and a run's own error",
        "",
        sentence,
        "",
        *_about(made),
        *_summary(compared),
    ]
    lines += [*_by_budget(compared), *_losses(compared), *_problems(compared), *_estimates(errors)]
    write_page(page, lines)
    _plot_ratios(compared, folder / "schedules_ratio.png")
    _plot_errors(errors, folder / "schedules_error.png")
    return [page, folder / "schedules_ratio.png", folder / "schedules_error.png"]


def _about(made: Sequence[Row]) -> list[str]:
    return [
        "## A schedule planned from one run",
        "",
        "Each model was traced once, by `erk_abm` calibrated at 16 calls on noises other than those judged. From that "
        "trace schedules of 8 and 16 steps were planned; `erk_abm` calibrated and ComfyUI's `dpmpp_2m` were run along "
        "them and along ComfyUI's own schedules: karras, beta, simple and kl_optimal on sigma-space models, simple, "
        "beta, normal and kl_optimal on flow models. Error: RMS distance to the converged solution, mean over the "
        "samples. Ratios are of the planned schedule's error to that of the traced schedule, and to that of the best "
        "of ComfyUI's, chosen for each cell with the answer in sight. Means are geometric; less is better. Cells whose "
        f"traced schedule errs by less than {EXACT:.1%} of the contrast are solved and in no figure.",
        "",
        f"{', '.join(CHOSEN_BY)} helped to choose how it is planned and estimated. An earlier rule was measured on "
        "all models once; problems on which it failed badly joined those that helped, so the held-out ones are the "
        f"easier ones. Planning took {max(row.seconds for row in made):.2f} s at most.",
        "",
        "![error ratio](schedules_ratio.png)",
        "",
    ]


def _summary(compared: Sequence[Compared]) -> list[str]:
    body = []
    for kind, title in TITLES.items():
        for group, belongs in _groups().items():
            here = [c for c in compared if c.row.kind == kind and belongs(c.row.problem)]
            cells = [c for c in here if not c.solved]
            if not cells:
                continue
            body.append(
                (
                    f"{title}, {group}",
                    number(geometric_mean(c.traced for c in cells)),
                    number(geometric_mean(c.best for c in cells)),
                    percent(sum(c.traced > 1.1 for c in cells) / len(cells)),
                    percent(sum(c.traced > 1.5 for c in cells) / len(cells)),
                    number(max(c.traced for c in cells)),
                    str(len(cells)),
                    str(len(here) - len(cells)),
                )
            )
    heads = ("", "over the traced", "over the best", "cells above 1.10", "above 1.5", "worst", "cells", "solved")
    wanted = (
        f"Wanted: flow at most {TARGETS['flow'][0]} of the traced and {TARGETS['flow'][1]} of the best, sigma-space at "
        f"most {TARGETS['eps'][1]} of the best, networks at most 0.85 of the traced, at most 10 % of the cells above "
        "1.10 of the traced and none above 1.5."
    )
    return [*table(heads, body), wanted, ""]


def _by_budget(compared: Sequence[Compared]) -> list[str]:
    body = []
    for kind, title in TITLES.items():
        for sampler in dict.fromkeys(c.row.sampler for c in compared):
            for budget in sorted({c.row.budget for c in compared}):
                cells = [
                    c
                    for c in compared
                    if (c.row.kind, c.row.sampler, c.row.budget) == (kind, sampler, budget)
                    and not c.solved
                    and c.row.problem not in CHOSEN_BY
                ]
                means = (geometric_mean(c.traced for c in cells), geometric_mean(c.best for c in cells))
                body.append((f"{title}, {sampler}, {budget} calls", *map(number, means), str(len(cells))))
    return ["### Held out, by sampler and calls", "", *table(("", "over the traced", "over the best", "cells"), body)]


def _losses(compared: Sequence[Compared]) -> list[str]:
    lost = sorted((c for c in compared if c.traced > 1 and not c.solved), key=lambda c: -c.traced)
    body = [
        (
            c.name,
            c.row.sampler,
            number(c.traced),
            f"{c.row.error / c.row.contrast:.2%}",
            "yes" if c.row.problem in CHOSEN_BY else "",
        )
        for c in lost
    ]
    heads = ("model, calls", "sampler", "over the traced", "error over the contrast", "helped to choose")
    count = sum(not c.solved for c in compared)
    return [f"### Cells where the plan errs more: {len(lost)} of {count}", "", *(table(heads, body) if body else [])]


def _problems(compared: Sequence[Compared]) -> list[str]:
    body = []
    for name in dict.fromkeys(c.row.problem for c in compared):
        line = [name]
        for kind in TITLES:
            cells = [c for c in compared if c.row.problem == name and c.row.kind == kind and not c.solved]
            line += [number(geometric_mean(ratio(c) for c in cells)) for ratio in (_traced, _best)]
        body.append(line)
    heads = [f"{kind}, over the {what}" for kind in TITLES for what in ("traced", "best")]
    return ["### By model", "", *table(("", *heads), body)]


def _traced(compared: Compared) -> float:
    return compared.traced


def _best(compared: Compared) -> float:
    return compared.best


# The estimate


def judged(errors: Sequence[ErrorRow]) -> list[ErrorRow]:
    """Rows with an estimate, whose true error is not below what counts."""
    return [
        row
        for row in errors
        if math.isfinite(row.estimate) and math.isfinite(row.true) and row.true > 1e-4 and not is_check(row.problem)
    ]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's."""
    ranks = torch.stack([torch.tensor(side).argsort().argsort().double() for side in zip(*pairs, strict=True)])
    return float(torch.corrcoef(ranks)[0, 1])


def _estimates(errors: Sequence[ErrorRow]) -> list[str]:
    body = []
    for title, belongs in _groups().items():
        for mode in ("off", "calibrated", ""):
            cells = [row for row in judged(errors) if belongs(row.problem) and mode in ("", row.mode)]
            if cells:
                body.append((f"{title}, {f'`{mode}`' if mode else '**all**'}", *_quality(cells)))
    for sampler in dict.fromkeys(row.sampler for row in errors):
        cells = [row for row in judged(errors) if row.sampler == sampler and row.problem not in CHOSEN_BY]
        if cells:
            body.append((f"held out, {sampler}", *_quality(cells)))
    false = [row for row in judged(errors) if row.estimate < SMALL and row.true > LARGE]
    untold = [row for row in errors if math.isnan(row.estimate) and not is_check(row.problem)]
    heads = (
        "",
        "rank correlation",
        "within a factor of 3",
        "estimate / truth, median",
        "below a third",
        "false",
        "runs",
    )
    return [
        "## How well a run knows its own error",
        "",
        "Each run's trace estimates the solver's error in the picture, over the picture's contrast. Here it is "
        "compared with the true one: all solvers of the pack, modes off and calibrated, at 8, 16 and 32 calls, two "
        f"schedules a kind of model. False: called smaller than {SMALL:.0%} where {LARGE:.0%} or more is true. Runs "
        "whose true error is below 0.01 % are left out.",
        "",
        "![estimate and truth](schedules_error.png)",
        "",
        *table(heads, body),
        "Wanted: a rank correlation of 0.85 at least, 90 % within a factor of 3, none false.",
        "",
        f"{len(untold)} of {len(errors)} runs say that nothing can be told: their model gives the same answer twice.",
        "",
        f"### Called small, and large in truth: {len(false)}",
        "",
        *(
            table(
                ("model, schedule, calls", "solver", "estimate", "truth"),
                [
                    (
                        f"{row.problem}, {row.kind} {row.schedule}, {row.budget}",
                        f"{row.sampler}, {row.mode}",
                        f"{row.estimate:.2%}",
                        f"{row.true:.1%}",
                    )
                    for row in false
                ],
            )
            if false
            else ["None.", ""]
        ),
    ]


def _quality(cells: Sequence[ErrorRow]) -> tuple[str, ...]:
    shares = [row.estimate / row.true for row in cells]
    return (
        number(rank_correlation([(row.estimate, row.true) for row in cells])),
        percent(sum(1 / 3 <= share <= 3 for share in shares) / len(cells)),
        number(statistics.median(shares)),
        percent(sum(share < 1 / 3 for share in shares) / len(cells)),
        str(sum(row.estimate < SMALL and row.true > LARGE for row in cells)),
        str(len(cells)),
    )


# Plots


def _plot_ratios(compared: Sequence[Compared], path: Path) -> None:
    """A dot a cell, over the traced and over the best."""
    figure, axes = plots.new_figure(9.0, 4.4, 2, sharey=True)
    low, high = 0.5, 1.5
    for ax, (kind, title) in zip(axes, TITLES.items(), strict=True):
        for place, ratio in enumerate((_traced, _best)):
            for i, chosen in enumerate((False, True)):
                cells = [
                    c
                    for c in compared
                    if c.row.kind == kind and not c.solved and (c.row.problem in CHOSEN_BY) is chosen
                ]
                values = sorted(min(max(ratio(c), 0.021), 28.0) for c in cells)
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


def _plot_errors(errors: Sequence[ErrorRow], path: Path) -> None:
    """Estimate against truth, a dot a run."""
    figure, axes = plots.new_figure(9.0, 4.8, 2, sharey=True, sharex=True)
    for ax, mode in zip(axes, ("off", "calibrated"), strict=True):
        for i, (title, belongs) in enumerate(list(_groups().items())):
            cells = [row for row in judged(errors) if row.mode == mode and belongs(row.problem)]
            if "CFG" in title or not cells:
                continue
            ax.plot(
                [100 * row.true for row in cells], [100 * row.estimate for row in cells], linestyle="", alpha=0.4,
                marker=plots.MARKERS[i], color=plots.COLOURS[i], markersize=3.5, markeredgewidth=0, label=title,
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
