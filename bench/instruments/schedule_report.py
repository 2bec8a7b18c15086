"""SCHEDULES.md, from the rows of bench.schedules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .problems import NAMES
from .schedule_cells import TITLES, Compared, compare, estimate_groups, groups, held_out, is_check, judged
from .schedule_plots import plot_errors, plot_ratios
from .schedule_rows import ErrorRow, Row
from .tables import EXACT, geometric_mean, number, percent, table, write_page

TARGETS = {"eps": (math.nan, 0.85), "flow": (0.45, 0.65)}
"""Wanted at most: error over that of the traced schedule, and over that of the best in hindsight."""

SMALL, LARGE = 0.01, 0.05
"""A run must never say the one where the other is true."""


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
    plot_ratios(compared, folder / "schedules_ratio.png")
    plot_errors(errors, folder / "schedules_error.png")
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
        "The suite helped to choose how it is planned. So did the data sets of another project: on swissroll-1000 an "
        "earlier version lost, for it took the contrast of each sample apart, and two numbers can be nearly alike. The "
        "networks did not help, but the photographs without CFG were seen before the last constant was set (a plan "
        f"must promise a tenth). Planning took {max(row.seconds for row in made):.2f} s at most.",
        "",
        "![error ratio](schedules_ratio.png)",
        "",
    ]


def _summary(compared: Sequence[Compared]) -> list[str]:
    body = []
    for kind, title in TITLES.items():
        for group, belongs in groups().items():
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
                    and c.row.problem in NAMES
                ]
                means = (geometric_mean(c.traced for c in cells), geometric_mean(c.best for c in cells))
                body.append((f"{title}, {sampler}, {budget} calls", *map(number, means), str(len(cells))))
    return ["### Suite, by sampler and calls", "", *table(("", "over the traced", "over the best", "cells"), body)]


def _losses(compared: Sequence[Compared]) -> list[str]:
    lost = sorted((c for c in compared if c.traced > 1 and not c.solved), key=lambda c: -c.traced)
    body = [
        (
            c.name,
            c.row.sampler,
            number(c.traced),
            f"{c.row.error / c.row.contrast:.2%}",
            "" if held_out(c.row.problem) else "yes",
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
            line += [number(geometric_mean(getattr(c, other) for c in cells)) for other in ("traced", "best")]
        body.append(line)
    heads = [f"{kind}, over the {what}" for kind in TITLES for what in ("traced", "best")]
    return ["### By model", "", *table(("", *heads), body)]


# The estimate


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's."""
    ranks = torch.stack([torch.tensor(side).argsort().argsort().double() for side in zip(*pairs, strict=True)])
    return float(torch.corrcoef(ranks)[0, 1])


def _estimates(errors: Sequence[ErrorRow]) -> list[str]:
    body = []
    for title, belongs in estimate_groups().items():
        for mode in ("off", "calibrated", ""):
            cells = [row for row in judged(errors) if belongs(row.problem) and mode in ("", row.mode)]
            if cells:
                body.append((f"{title}, {f'`{mode}`' if mode else '**all**'}", *_quality(cells)))
    for sampler in dict.fromkeys(row.sampler for row in errors):
        cells = [row for row in judged(errors) if row.sampler == sampler and row.problem in NAMES]
        if cells:
            body.append((f"suite, {sampler}", *_quality(cells)))
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
        "The suite helped to choose how it is estimated, and so did the demo model: its mosaics, which are not here, "
        "and the network of photographs.",
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
        *_rates(errors),
    ]


def _rates(errors: Sequence[ErrorRow]) -> list[str]:
    """With what power of the number of steps the true error falls: what a run's guess at other numbers relies on."""
    true = {replace(row, estimate=0.0, true=0.0): row.true for row in judged(errors) if row.true > EXACT}
    body = []
    for sampler in dict.fromkeys(row.sampler for row in errors):
        for mode in dict.fromkeys(row.mode for row in errors):
            line = [f"{sampler}, {mode}"]
            for budget in sorted({row.budget for row in errors})[:-1]:
                pairs = [
                    (error, true[replace(row, budget=2 * budget)])
                    for row, error in true.items()
                    if (row.sampler, row.mode, row.budget) == (sampler, mode, budget)
                    and replace(row, budget=2 * budget) in true
                ]
                if pairs:
                    line.append(number(statistics.median(math.log2(error / half) for error, half in pairs)))
            body.append(line)
    heads = ("", *(f"{budget} to {2 * budget} calls" for budget in sorted({row.budget for row in errors})[:-1]))
    return [
        "### How the error falls with more steps",
        "",
        "Median of p, where the true error goes as the number of calls to the power -p. Cells in which either error is "
        f"below {EXACT:.1%} are left out.",
        "",
        *table(heads, [line for line in body if len(line) == len(heads)]),
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
