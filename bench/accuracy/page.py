"""Tables and plots from the rows of bench.accuracy: python -m bench.report.

Writes ACCURACY.md and the plots beside the CSV file. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .accuracy import CSV, GRID, TUNED, Row
from .instruments import environment, plots
from .instruments.peers import PEERS
from .instruments.problems import NAMES, problem
from .instruments.rows import read
from .instruments.stock import NOTES, SKIPPED
from .instruments.tables import EXACT, WORSE_BY, geometric_mean, number, percent, ratio, table

FAMILIES = {"sigma-space": ("eps", "edm"), "flow": ("flow", "flow1")}
BOUND = 1.05
"""A cell above this ratio is listed."""
Cell = tuple[str, str, str, int]
"""problem, kind, schedule, budget"""


@dataclass(frozen=True)
class Comparison:
    """A mode of one of this pack's solvers against the same solver with mode off, in one cell."""

    row: Row
    off: Row

    @property
    def mean(self) -> float:
        return ratio(self.row.mean, self.off.mean)

    @property
    def median(self) -> float:
        return ratio(self.row.median, self.off.median)

    @property
    def solved(self) -> bool:
        return self.off.mean < EXACT * scale(self.row.problem)

    @property
    def added(self) -> float:
        """Error over that with mode off, as a fraction of the data's scale."""
        return (self.row.mean - self.off.mean) / scale(self.row.problem)


@dataclass(frozen=True)
class Race:
    """The best of this pack's samplers in one mode against the best stock sampler, in one cell."""

    cell: Cell
    ours: Row
    stock: Row

    @property
    def ratio(self) -> float:
        return ratio(self.ours.mean, self.stock.mean)


@cache
def scale(name: str) -> float:
    """The deviation of a problem's data."""
    return float(problem(name).distribution.deviation)


def cell_of(row: Row) -> Cell:
    return row.problem, row.kind, row.schedule, row.budget


def count(rows: Sequence[Row]) -> list[Row]:
    """Without the problems on which the calibrated rule is exact: a ratio there says how small rounding errors are."""
    return [row for row in rows if "exact" not in problem(row.problem).groups]


def compare(rows: Sequence[Row]) -> dict[str, list[Comparison]]:
    """Mode -> its comparisons with mode off."""
    off = {(cell_of(row), row.sampler): row for row in rows if row.mode == "off"}
    made: dict[str, list[Comparison]] = defaultdict(list)
    for row in rows:
        base = off.get((cell_of(row), row.sampler))
        if row.mode not in ("off", "stock") and base is not None:
            made[row.mode].append(Comparison(row, base))
    return {mode: made[mode] for mode in sorted(made, key=_rank)}


def _rank(mode: str) -> tuple[int, str]:
    """The order of modes in tables: as in the plots."""
    known = list(plots.STYLES)
    return known.index(mode) if mode in known else len(known), mode


def race(rows: Sequence[Row], mode: str) -> list[Race]:
    """One race a cell, this pack's samplers in one mode against the stock ones."""
    ours: dict[Cell, Row] = {}
    stock: dict[Cell, Row] = {}
    for row in rows:
        best = ours if row.mode == mode else stock if row.mode == "stock" else None
        if best is not None and (cell_of(row) not in best or row.mean < best[cell_of(row)].mean):
            best[cell_of(row)] = row
    return [Race(cell, ours[cell], stock[cell]) for cell in ours if cell in stock]


def headline(rows: Sequence[Row]) -> str:
    """The mode that the report is about: "calibrated" where it was run."""
    present = {row.mode for row in rows}
    return "calibrated" if "calibrated" in present else "paper"


def percent_worse(comparisons: Sequence[Comparison]) -> str:
    return percent(statistics.fmean(c.row.worse for c in comparisons)) if comparisons else ""


def _of_family(family: str) -> Callable[[Row], bool]:
    return lambda row: row.kind in FAMILIES[family]


def write_report(rows: list[Row], path: Path, sentence: str) -> None:
    """ACCURACY.md."""
    mode = headline(rows)
    counted = count(rows)
    everywhere = compare(counted)
    comparisons = {of_mode: [c for c in made if not c.solved] for of_mode, made in everywhere.items()}
    races = race(counted, mode)
    cells = {cell_of(row) for row in counted}
    families = [family for family in FAMILIES if any(_of_family(family)(row) for row in rows)]
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
    lines += _against_stock(races, counted, mode, families)
    lines += _terms(rows)
    path.write_text("\n".join(line.rstrip() for line in lines).rstrip() + "\n")


def _by_solver(comparisons: dict[str, list[Comparison]], families: list[str]) -> list[str]:
    lines = []
    for family in families:
        for mode, made in comparisons.items():
            here = [c for c in made if _of_family(family)(c.row)]
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
                        percent_worse(group),
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
        kinds = [number(geometric_mean(c.mean for c in group if _of_family(family)(c.row))) for family in families]
        lines.append((k, *kinds, *columns, number(max(c.mean for c in group)), percent_worse(group)))
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


def _against_stock(races: list[Race], rows: Sequence[Row], mode: str, families: list[str]) -> list[str]:
    if not races:
        return []
    lines = []
    for family in families:
        here = [r for r in races if r.ours.kind in FAMILIES[family]]
        for budget in [*sorted({r.cell[3] for r in here}), None]:
            group = [r for r in here if budget in (None, r.cell[3])]
            lines.append(
                (
                    f"{family}, {f'{budget} calls' if budget else '**all**'}",
                    f"{sum(r.ratio < 1 for r in group)} of {len(group)}",
                    number(geometric_mean(r.ratio for r in group)),
                    number(max(r.ratio for r in group)),
                    _often(r.ours.sampler for r in group),
                    _often(r.stock.sampler for r in group),
                )
            )
    losses = sorted((r for r in races if r.ratio >= 1), key=lambda r: -r.ratio)
    lost = [
        (
            " ".join(map(str, r.cell)), f"{r.ours.sampler} {r.ours.mean:.2g}", f"{r.stock.sampler} {r.stock.mean:.2g}",
            number(r.ratio)
        )
        for r in losses
    ]  # fmt: skip
    return [
        "## Against ComfyUI's samplers",
        "",
        f"The best of this pack's samplers in mode `{mode}` against the best stock sampler of each cell, at equal "
        f"model calls.",
        "",
        "![against the best stock sampler](accuracy_stock.png)",
        "",
        *table(
            ("", "first", "error, best of ours / best stock", "worst", "ours, most often", "best stock, most often"),
            lines
        ),
        f"### Cells lost: {len(losses)} of {len(races)}",
        "",
        *(table(("problem, model, schedule, calls", "ours", "stock", "ratio"), lost) if lost else ["None.", ""]),
        "### Everyone",
        "",
        "Error over the error of the best stock sampler of the cell, geometric mean over all cells.",
        "",
        *_everyone(races, rows, families),
    ]  # fmt: skip


def _often(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common(2))


def _everyone(races: list[Race], rows: Sequence[Row], families: list[str]) -> list[str]:
    best = {r.cell: r.stock.mean for r in races}
    first = {r.cell: (r.ours if r.ratio < 1 else r.stock).key for r in races}
    relative: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    firsts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        cell = cell_of(row)
        if cell not in best or row.mode == TUNED:
            continue
        name = row.sampler, row.mode
        family = next(f for f, kinds in FAMILIES.items() if row.kind in kinds)
        relative[name][family].append(ratio(row.mean, best[cell]))
        firsts[name] += first[cell] == row.key

    def rank(name: tuple[str, str]) -> float:
        mean = geometric_mean(v for values in relative[name].values() for v in values)
        return mean if math.isfinite(mean) else math.inf

    lines = [
        (
            f"{sampler}{'' if mode == 'stock' else f', {mode}'}",
            *(number(geometric_mean(relative[sampler, mode][family])) for family in families),
            str(firsts[sampler, mode]),
        )
        for sampler, mode in sorted(relative, key=rank)
    ]
    return table(("", *families, "times first"), lines)


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=CSV, help="the rows")
    parser.add_argument("--output", type=Path, help="folder of the report; by default that of the rows")
    arguments = parser.parse_args()
    rows = read(arguments.input, Row)
    if not rows:
        print(f"{arguments.input} has no rows: python -m bench.accuracy makes them.", file=sys.stderr)
        return 1
    folder = arguments.output or arguments.input.parent
    folder.mkdir(parents=True, exist_ok=True)
    mode = headline(rows)
    write_report(rows, folder / "ACCURACY.md", environment.sentence(arguments.input.with_suffix(".json")))
    points = [
        plots.Ratio(c.row.sampler, m, _family_of(c.row), c.row.budget, c.mean)
        for m, made in compare(count(rows)).items()
        for c in made
        if not c.solved
    ]
    plots.ratio_by_calls(
        points, folder / "accuracy_ratio.png", "Error against the same solver without guidance, equal model calls",
        "error, mode / off  (geometric mean)",
    )  # fmt: skip
    races = race(count(rows), mode)
    if races:
        plots.races([(_family_of(r.ours), r.cell[3], r.ratio) for r in races], mode, folder / "accuracy_stock.png")
    for name in ("ACCURACY.md", "accuracy_ratio.png", *(["accuracy_stock.png"] if races else [])):
        print(folder / name)
    return 0


def _family_of(row: Row) -> str:
    return next(family for family, kinds in FAMILIES.items() if row.kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
