"""ACCURACY.md and its plots, from the rows."""

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
"""A cell above this ratio is listed."""


def write(rows: list[Row], folder: Path, sentence: str) -> list[Path]:
    """The page and the plots into a folder. Returns their paths."""
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
    """ACCURACY.md."""
    mode = headline(rows)
    counted = count(rows)
    everywhere = compare(counted)
    comparisons = {of_mode: [c for c in made if not c.solved] for of_mode, made in everywhere.items()}
    races = against_stock.race(counted, mode)
    cells = {cell_of(row) for row in counted}
    families = [family for family in FAMILIES if any(family_of(row) == family for row in rows)]
    worst_reference = max(row.reference_error for row in rows)
    tuned = (
        f"Mode `{TUNED}` is mode `paper` at the best of its preset and {len(GRID)} settings of (w_stiff, w_con), "
        f"chosen for each cell "
        "with the answer in sight: what tuning could give at most, and nobody has."
        if any(row.mode == TUNED for row in rows)
        else f"Left out here: mode `{TUNED}`, the paper's rule at the best of {len(GRID)} further settings (leave out "
        f"--no-tuning)."
    )
    lines = [
        "# Accuracy",
        "",
        sentence,
        "",
        f"Error: per sample, the root mean square distance to the converged end point of the ODE; a run's error is the "
        f"mean over its samples. A cell is one problem on one kind of model with one schedule and one number of model "
        f"calls: {len(cells)} cells. Ratios are error with the mode over error of the same solver with mode off, at "
        f"equal calls; means of ratios are geometric. Less is better. A cell is solved where mode off errs by less "
        f"than {EXACT:.1%} of the data's scale: its ratio says nothing and is in no "
        f"mean; what a mode adds there is told below. The references' own errors, estimated by halving their steps, "
        f"are at most {worst_reference:.0e} in the mean.",
        "",
        tuned,
        "",
        "![error ratio](accuracy_ratio.png)",
        "",
        "## Against the same solver with guidance off",
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
    """What a mode adds where there was nothing to take away."""
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
    """Single Gaussians, where the calibrated rule has nothing to estimate wrongly but many directions at once."""
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
        "Models: eps is sigma-space at ComfyUI's discrete levels (0.029 to 14.6), edm sigma-space from 0.002 to 80, "
        "flow has a shift of 3, flow1 none. All samplers run in float32 through ComfyUI's `sample_custom`, with CFG by "
        "real conditioning; a model call is one call of "
        f"the guided model. A sample counts as made worse if its error grew by more than {WORSE_BY:.1%}.",
        "",
        "Stock samplers that draw noise run with eta 0. To know of them:",
        "",
        *(f"- {name}: {note}" for name, note in NOTES.items()),
        "",
        "Peers, written from their formulas: no stock samplers, and in the last table alone, marked:",
        "",
        *(f"- {name}: {peer.note}" for name, peer in PEERS.items()),
        "",
        "Not in the race:",
        "",
        *(f"- {name}: {reason}" for name, reason in SKIPPED.items()),
    ]


def _percent_worse(comparisons: Sequence[Comparison]) -> str:
    return percent(statistics.fmean(c.row.worse for c in comparisons)) if comparisons else ""
