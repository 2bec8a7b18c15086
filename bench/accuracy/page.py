"""Writes ACCURACY.md and its plots from the rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from ..instruments import plots
from ..instruments.peers import PEERS
from ..instruments.problems import NAMES, problem
from ..instruments.stock import NOTES, SKIPPED
from ..instruments.tables import EXACT, WORSE_BY, geometric_mean, number, percent, table, write_page
from . import against_stock
from .measure import GRID, TUNED, Row
from .ratios import FAMILIES, Comparison, cell_of, compare, count, family_of, headline

BOUND = 1.05
"""Cells above this ratio are listed."""


def write(rows: list[Row], folder: Path, sentence: str) -> list[Path]:
    """Write the page and the plots into a folder. Returns their paths."""
    counted, mode = count(rows), headline(rows)
    races = against_stock.race(counted, mode)
    paths = [folder / name for name in ("ACCURACY.md", "accuracy_ratio.png")]
    write_page(paths[0], page(rows, sentence))
    points = [
        plots.Ratio(c.row.sampler, of_mode, family_of(c.row), c.row.budget, c.mean)
        for of_mode, made in compare(counted).items()
        for c in made
        if not c.solved
    ]
    plots.ratio_by_calls(
        points, paths[1], "Error against the same solver without guidance, equal model calls",
        "error, mode / off  (geometric mean)",
    )  # fmt: skip
    if races:
        paths.append(folder / "accuracy_stock.png")
        plots.races([(family_of(r.ours), r.cell[3], r.ratio) for r in races], mode, paths[-1])
    return paths


def page(rows: list[Row], sentence: str) -> list[str]:
    """The lines of ACCURACY.md."""
    mode = headline(rows)
    counted = count(rows)
    everywhere = compare(counted)
    comparisons = {of_mode: [c for c in made if not c.solved] for of_mode, made in everywhere.items()}
    races = against_stock.race(counted, mode)
    cells = {cell_of(row) for row in counted}
    families = [family for family in FAMILIES if any(family_of(row) == family for row in rows)]
    worst_reference = max(row.reference_error for row in rows)
    tuned = (
        f"Mode `{TUNED}` is mode `paper` with the best of its preset and {len(GRID)} settings of (w_stiff, w_con). It "
        "is chosen for each cell in hindsight. So it shows the most that tuning could give, which nobody gets in "
        "practice."
        if any(row.mode == TUNED for row in rows)
        else f"Mode `{TUNED}` is left out here. It is the paper's rule with the best of {len(GRID)} further settings, "
        "and runs without --no-tuning."
    )
    lines = [
        "# Accuracy",
        "",
        sentence,
        "",
        "The error of a sample is the root mean square distance to the converged end point of the ODE. A run's error "
        "is the mean over its samples. A cell is one problem on one kind of model with one schedule and one number "
        f"of model calls. There are {len(cells)} cells. A ratio is the error with a mode, divided by the error of the "
        "same solver with mode off at equal calls. Means of ratios are geometric. Less is better. A cell is solved "
        f"if the error with mode off is less than {EXACT:.1%} of the data's scale. Then its ratio says nothing and is "
        "not in any mean. The page shows further down what a mode adds in solved cells. The references' own errors, "
        f"estimated by halving their steps, are at most {worst_reference:.0e} in the mean.",
        "",
        tuned,
        "",
        "![error ratio](accuracy_ratio.png)",
        "",
        "## Compared with the same solver with guidance off",
        "",
    ]
    lines += _by_solver(comparisons, families)
    lines += _by(comparisons.get(mode, []), "problem", lambda row: row.problem, NAMES, families, mode)
    lines += _by(comparisons.get(mode, []), "calls", lambda row: str(row.budget), None, families, mode)
    lines += _by(comparisons.get(mode, []), "schedule", lambda row: f"{row.kind} {row.schedule}", None, families, mode)
    lines += _worst(comparisons.get(mode, []), mode)
    lines += _solved([c for c in everywhere.get(mode, []) if c.solved], mode)
    lines += _gaussians(rows, mode)
    lines += against_stock.section(races, counted, mode, families)
    lines += _terms(rows)
    return lines


def _by_solver(comparisons: dict[str, list[Comparison]], families: list[str]) -> list[str]:
    lines = []
    for family in families:
        for mode, made in comparisons.items():
            here = [c for c in made if family_of(c.row) == family]
            for sampler in [*dict.fromkeys(c.row.sampler for c in here), ""]:
                group = [c for c in here if sampler in ("", c.row.sampler)]
                worst = max(group, key=lambda c: c.mean)
                lines.append(
                    (
                        f"{family}, `{mode}`, {sampler or '**all**'}",
                        number(geometric_mean(c.mean for c in group)),
                        number(geometric_mean(c.median for c in group)),
                        number(worst.mean),
                        percent(sum(c.mean > BOUND for c in group) / len(group)),
                        _percent_worse(group),
                        str(len(group)),
                    )
                )
    return table(
        ("", "mean error", "median error", "worst cell", f"cells above {BOUND:g}", "samples made worse", "cells"), lines
    )


def _by(
    made: list[Comparison],
    what: str,
    key: Callable[[Row], str],
    order: Sequence[str] | None,
    families: list[str],
    mode: str,
) -> list[str]:
    keys = list(dict.fromkeys(key(c.row) for c in made))
    keys = [k for k in order if k in keys] if order else keys
    solvers = list(dict.fromkeys(c.row.sampler for c in made))
    lines = []
    for k in keys:
        group = [c for c in made if key(c.row) == k]
        columns = [number(geometric_mean(c.mean for c in group if c.row.sampler == solver)) for solver in solvers]
        kinds = [number(geometric_mean(c.mean for c in group if family_of(c.row) == family)) for family in families]
        lines.append((k, *kinds, *columns, number(max(c.mean for c in group)), _percent_worse(group)))
    return [
        f"### Mode {mode} by {what}", "", *table((what, *families, *solvers, "worst cell", "samples made worse"), lines)
    ]  # fmt: skip


def _worst(made: list[Comparison], mode: str, count: int = 25) -> list[str]:
    above = sorted((c for c in made if c.mean > BOUND), key=lambda c: -c.mean)
    shown = [
        (
            " ".join(map(str, cell_of(c.row))), c.row.sampler, number(c.mean), number(c.median), percent(c.row.worse),
            f"{c.off.mean:.2g}"
        )
        for c in above[:count]
    ]  # fmt: skip
    said = f"{len(above)} of {len(made)} cells are above {BOUND:g}" + (
        f"; the worst {count}:" if len(above) > count else "."
    )
    heads = (
        "problem, model, schedule, calls",
        "solver",
        "mean error",
        "median error",
        "samples made worse",
        "error with mode off",
    )
    return [f"### Where mode {mode} makes it worse", "", said, "", *(table(heads, shown) if shown else [])]


def _solved(made: list[Comparison], mode: str, count: int = 10) -> list[str]:
    """What a mode adds in cells in which there was no error to remove."""
    solvers = list(dict.fromkeys(c.row.sampler for c in made))
    lines = []
    for solver in solvers:
        here = [c for c in made if c.row.sampler == solver]
        over = sum(c.added > 2 * EXACT for c in here)
        lines.append((solver, str(len(here)), str(over), f"{max(c.added for c in here):.2%}"))
    most = sorted(made, key=lambda c: -c.added)[:count]
    shown = [(" ".join(map(str, cell_of(c.row))), c.row.sampler, f"{c.added:.2%}", f"{c.off.mean:.1e}") for c in most]
    heads = ("", "solved cells", f"adds more than {2 * EXACT:.1%}", "adds at most")
    return [
        f"### What mode {mode} adds in solved cells, as a share of the data's scale",
        "",
        *table(heads, lines),
        *table(("problem, model, schedule, calls", "solver", "added", "error with mode off"), shown),
    ]


def _gaussians(rows: Sequence[Row], mode: str) -> list[str]:
    """Single Gaussians. The calibrated rule can only go wrong there by having to estimate many directions at once."""
    names = [name for name in NAMES if "gaussian" in problem(name).groups]
    lines = []
    for name in names:
        for family, kinds in FAMILIES.items():
            here = [row for row in rows if row.problem == name and row.kind in kinds]
            columns = [
                [row.mean for row in here if row.mode == m and row.sampler.startswith("erk_")] for m in ("off", mode)
            ]
            if all(columns):
                lines.append(
                    (f"{name}, {family}", *(f"{max(c):.1e}" for c in columns), *(f"{min(c):.1e}" for c in columns))
                )
    heads = ("", "largest error, off", f"largest error, {mode}", "smallest error, off", f"smallest error, {mode}")
    return ["### Single Gaussians, all solvers and calls", "", *(table(heads, lines) if lines else [])]


def _terms(rows: Sequence[Row]) -> list[str]:
    present = {row.problem for row in rows}
    shown = [problem(name) for name in NAMES if name in present]
    lines = [(what.name, what.note, "x".join(map(str, what.shape)), str(what.samples)) for what in shown]
    return [
        "## Problems",
        "",
        *table(("problem", "what", "shape", "samples"), lines),
        "Models: eps is sigma-space at ComfyUI's discrete levels (0.029 to 14.6). edm is sigma-space from 0.002 to "
        "80. flow has a shift of 3, and flow1 has none. All samplers run in float32 through ComfyUI's "
        "`sample_custom`, with CFG by real conditioning. A model call is one call of the guided model. A sample "
        f"counts as made worse if its error grew by more than {WORSE_BY:.1%}.",
        "",
        "Stock samplers that draw noise run with eta 0. Notes on stock samplers:",
        "",
        *(f"- {name}: {note}" for name, note in NOTES.items()),
        "",
        "Peers are samplers of recent papers, written from their formulas. They are not stock samplers. They only "
        "appear in the table of all samplers, marked as peers:",
        "",
        *(f"- {name}: {peer.note}" for name, peer in PEERS.items()),
        "",
        "These samplers do not take part:",
        "",
        *(f"- {name}: {reason}" for name, reason in SKIPPED.items()),
    ]


def _percent_worse(comparisons: Sequence[Comparison]) -> str:
    return percent(statistics.fmean(c.row.worse for c in comparisons)) if comparisons else ""
