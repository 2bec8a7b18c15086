"""Compares mode calibrated with mode off and the stock samplers, on models outside the suite.

The benchmarks of other people's networks, of other people's data sets, and of distilled students share this module. It
has the rows that they write, and the tables made from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from . import plots
from .comfy_model import Bench
from .reference import Reference
from .stock import peers, runs
from .tables import EXACT, WORSE_BY, geometric_mean, number, percent, ratio, share_worse, table

MODES = ("off", "calibrated")
BOUND = 1.10
"""Cells above this ratio are listed."""


@dataclass(frozen=True)
class Row:
    """One run.

    budget           allowed model calls (for a student: its steps); ``calls`` were made, in ``steps`` steps
    mode             the mode of this pack's samplers, or "stock" for ComfyUI's own
    mean, median, most  of the samples' RMS distances to the converged solution
    worse            share of samples further from it than with mode off of the same solver; NaN for stock
    noise            what the benchmark measures besides the error; NaN if there is nothing
    scale            RMS of the converged samples about their mean
    reference_error  estimated mean error of the converged solution itself
    """

    problem: str
    kind: str
    schedule: str
    budget: int
    sampler: str
    mode: str
    steps: int
    calls: int
    mean: float
    median: float
    most: float
    worse: float
    noise: float
    samples: int
    scale: float
    reference_error: float
    seconds: float

    @property
    def cell(self) -> tuple[str, str, str, int]:
        return self.problem, self.kind, self.schedule, self.budget


@dataclass(frozen=True)
class Case:
    """A model with its schedules, on which samplers are compared.

    levels     the schedule for a number of steps, [steps + 1]
    reference  the ODE's end point from the same start
    noise      what to measure on the samples besides their error
    """

    problem: str
    schedule: str
    bench: Bench
    levels: Callable[[int], Tensor]
    reference: Reference
    noise: Callable[[Tensor], float] | None = None

    def runs(
        self, budget: int, steps_of: Callable[[str], int], with_stock: bool = True
    ) -> Iterator[tuple[Row, Tensor]]:
        """Every sampler with the number of steps from ``steps_of``, and its samples.

        Samplers with fewer than two steps are left out.
        """
        off: dict[str, Tensor] = {}
        for sampler, mode, options in runs(MODES, peers() if with_stock else ()):
            if steps_of(sampler) >= 2:
                yield self._run(sampler, steps_of(sampler), budget, mode, options, off)

    def _run(
        self, sampler: str, steps: int, budget: int, mode: str, options: dict[str, Any], off: dict[str, Tensor]
    ) -> tuple[Row, Tensor]:
        """off: errors with mode off, by sampler; those of this run are added."""
        begin = time.perf_counter()
        samples, calls = self.bench.sample(sampler, self.levels(steps), options)
        seconds = time.perf_counter() - begin
        exact = self.reference.samples
        errors = self.reference.distance(samples)
        worse = math.nan if mode == "stock" else share_worse(errors, off.setdefault(sampler, errors))
        ordered = errors.sort().values
        row = Row(
            self.problem,
            self.bench.kind,
            self.schedule,
            budget,
            sampler,
            mode,
            steps,
            calls,
            float(errors.mean()),
            float(ordered[len(ordered) // 2]),
            float(ordered[-1]),
            worse,
            self.noise(samples) if self.noise else math.nan,
            len(errors),
            float((exact - exact.mean(0)).square().mean().sqrt()),
            float(self.reference.error.mean()),
            seconds,
        )
        return row, samples


@dataclass(frozen=True)
class Comparison:
    """A solver with mode calibrated, compared with the same solver with mode off, in one cell."""

    row: Row
    off: Row

    @property
    def ratio(self) -> float:
        return ratio(self.row.mean, self.off.mean)

    @property
    def judged(self) -> bool:
        return self.off.mean > EXACT * self.row.scale

    @property
    def added(self) -> float:
        """Error that calibrated adds, as a fraction of the data's scale."""
        return (self.row.mean - self.off.mean) / self.row.scale


def compare(rows: Iterable[Row]) -> list[Comparison]:
    rows = list(rows)
    off = {(row.cell, row.sampler): row for row in rows if row.mode == "off"}
    return [Comparison(row, off[row.cell, row.sampler]) for row in rows if row.mode == "calibrated"]


def summary(made: Sequence[Comparison], group: Callable[[Row], str]) -> list[str]:
    """A table by group and solver."""
    noisy = any(not math.isnan(c.row.noise) for c in made)
    lines = []
    for name in dict.fromkeys(group(c.row) for c in made):
        here = [c for c in made if group(c.row) == name]
        for sampler in [*dict.fromkeys(c.row.sampler for c in here), ""]:
            cells = [c for c in here if sampler in ("", c.row.sampler)]
            judged = [c for c in cells if c.judged]
            solved = [c for c in cells if not c.judged]
            columns = [
                number(geometric_mean(c.ratio for c in judged)),
                number(max((c.ratio for c in judged), default=math.nan)),
                f"{sum(c.ratio > BOUND for c in judged)} of {len(judged)}",
                percent(sum(c.row.worse for c in cells) / len(cells)),
                str(len(solved)),
                f"{100 * max(c.added for c in solved):.2f} %" if solved else "",
            ]
            if noisy:
                columns += [_noise([c.off for c in cells]), _noise([c.row for c in cells])]
            lines.append((f"{name}, {sampler or '**all**'}", *columns))
    heads = (
        "",
        "error, calibrated / off",
        "worst cell",
        f"cells above {BOUND:g}",
        "samples made worse",
        "solved cells",
        "most added there",
    )
    return table((*heads, *(("noise, off", "noise, calibrated") if noisy else ())), lines)


def _noise(rows: Sequence[Row]) -> str:
    """Geometric mean and largest."""
    values = [row.noise for row in rows]
    return f"{number(geometric_mean(values))}, at most {number(max(values))}"


def explain(rows: Sequence[Row]) -> str:
    """An explanation of the tables' numbers, in Markdown."""
    worst = max(row.reference_error / row.scale for row in rows)
    return (
        "The error of a sample is the root mean square distance to the converged end point of the ODE. A run's error "
        f"is the mean over its {rows[0].samples} samples. A ratio is the error with calibrated, divided by the error "
        "with mode off of the same solver in the same cell. Means of ratios are geometric. Less is better. A cell is "
        f"solved if the error with mode off is less than {EXACT:.1%} of the data's scale. Then its ratio says nothing "
        "and is not in any mean. What calibrated adds in solved cells is shown as a share of that scale. A sample "
        f"counts as made worse if its error grew by more than {WORSE_BY:.1%}. The converged solutions' own errors are "
        f"estimated at {worst:.0e} of the scale at most."
    )


def losses(made: Sequence[Comparison], group: Callable[[Row], str], unit: str = "calls") -> list[str]:
    """Every cell in which calibrated has a larger error than off, the worst first. unit: that of the rows' budgets."""
    lost = sorted((c for c in made if c.judged and c.ratio > 1), key=lambda c: -c.ratio)
    body = [
        (
            f"{c.row.problem}, {group(c.row)}, {c.row.budget}", c.row.sampler, number(c.ratio), percent(c.row.worse),
            f"{c.off.mean:.2g}", f"{c.off.mean / c.row.scale:.2g}",
        )
        for c in lost
    ]  # fmt: skip
    above = sum(c.ratio > BOUND for c in lost)
    heads = (
        f"problem, model, {unit}",
        "solver",
        "error, calibrated / off",
        "samples made worse",
        "error with off",
        "over the scale",
    )
    return [
        f"## Cells in which calibrated has the larger error: {len(lost)} of {sum(c.judged for c in made)}, {above} "
        f"above {BOUND:g}",
        "",
        *(table(heads, body) if body else ["None.", ""]),
    ]


def _mean_and_most(ratios: Sequence[float]) -> str:
    mean, most = number(geometric_mean(ratios)), f"at most {number(max(ratios))}"
    return f"{mean}, {most}" if mean else most


def against_stock(rows: Sequence[Row], group: Callable[[Row], str]) -> list[str]:
    """The best of this pack's samplers against the best stock sampler of each cell. Empty if none was run."""
    if not any(row.mode == "stock" for row in rows):
        return []
    best: dict[tuple, dict[str, Row]] = {}
    for row in rows:
        mine = best.setdefault(row.cell, {})
        if row.mode != "off" and (row.mode not in mine or row.mean < mine[row.mode].mean):
            mine[row.mode] = row
    body = [
        (
            f"{of['stock'].problem}, {group(of['stock'])}, {of['stock'].budget}",
            *(f"{of[mode].sampler} {of[mode].mean:.3g}" for mode in ("calibrated", "stock")),
            number(ratio(of["calibrated"].mean, of["stock"].mean)),
        )
        for of in best.values()
        if {"calibrated", "stock"} <= of.keys()
    ]
    ratios = [
        ratio(of["calibrated"].mean, of["stock"].mean) for of in best.values() if {"calibrated", "stock"} <= of.keys()
    ]
    return [
        "## Against ComfyUI's samplers",
        "",
        "In each cell, the best of this pack's samplers, calibrated, is compared with the best stock sampler at "
        f"equal model calls. Ours is first in {sum(r < 1 for r in ratios)} of {len(ratios)} cells. The ratio of the "
        f"errors is {_mean_and_most(ratios)}.",
        "",
        *table(("problem, model, calls", "ours", "stock", "ratio"), body),
    ]


def plot(
    made: Sequence[Comparison], group: Callable[[Row], str], path: Path, title: str, unit: str = "model calls"
) -> None:
    """Ratios by budget, one panel per group, without solved cells."""
    points = [plots.Ratio(c.row.sampler, "calibrated", group(c.row), c.row.budget, c.ratio) for c in made if c.judged]
    if points:
        plots.ratio_by_calls(points, path, title, "error, calibrated / off  (geometric mean)", unit)
