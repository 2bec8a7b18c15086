"""Compares the rows of a mode with those of mode off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ..instruments import plots
from ..instruments.problems import problem
from ..instruments.tables import EXACT, ratio
from .measure import Row

FAMILIES = {"sigma-space": ("eps", "edm"), "flow": ("flow", "flow1")}
CellKey = tuple[str, str, str, int]
"""problem, kind, schedule, budget"""


@dataclass(frozen=True)
class Comparison:
    """A mode of one of this pack's solvers, compared with the same solver with mode off in one cell."""

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
        """The error minus that with mode off, as a fraction of the data's scale."""
        return (self.row.mean - self.off.mean) / scale(self.row.problem)


@cache
def scale(name: str) -> float:
    """The standard deviation of a problem's data."""
    return float(problem(name).distribution.deviation)


def cell_of(row: Row) -> CellKey:
    return row.problem, row.kind, row.schedule, row.budget


def count(rows: Sequence[Row]) -> list[Row]:
    """The rows without the problems on which the rule is exact. A ratio there would only compare rounding errors."""
    return [row for row in rows if "exact" not in problem(row.problem).groups]


def compare(rows: Sequence[Row]) -> dict[str, list[Comparison]]:
    """For each mode, its comparisons with mode off."""
    off = {(cell_of(row), row.sampler): row for row in rows if row.mode == "off"}
    made: dict[str, list[Comparison]] = defaultdict(list)
    for row in rows:
        base = off.get((cell_of(row), row.sampler))
        if row.mode not in ("off", "stock") and base is not None:
            made[row.mode].append(Comparison(row, base))
    return {mode: made[mode] for mode in sorted(made, key=_rank)}


def _rank(mode: str) -> tuple[int, str]:
    """The order of modes in tables, which is that of the plots."""
    known = list(plots.STYLES)
    return known.index(mode) if mode in known else len(known), mode


def headline(rows: Sequence[Row]) -> str:
    """The mode that the report is about. It is "calibrated" if that was run."""
    present = {row.mode for row in rows}
    return "calibrated" if "calibrated" in present else "paper"


def family_of(row: Row) -> str:
    return next(family for family, kinds in FAMILIES.items() if row.kind in kinds)
