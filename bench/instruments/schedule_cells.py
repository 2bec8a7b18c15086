"""The cells that SCHEDULES.md judges, and to which group of models each belongs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .problems import NAMES, problem
from .schedule_rows import DATA_SETS, GALAXIES, PHOTOGRAPHS, ErrorRow, Row
from .tables import EXACT

TITLES = {"eps": "sigma-space (karras traced)", "flow": "flow (simple traced)"}
TRACED = {"eps": "karras", "flow": "simple"}


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


def held_out(name: str) -> bool:
    """Whether a model did not help to choose how schedules are planned."""
    return name in GALAXIES or name in PHOTOGRAPHS


def groups() -> dict[str, Callable[[str], bool]]:
    """For the plans."""
    return {
        "suite": lambda name: name in NAMES,
        "suite with CFG": lambda name: name in NAMES and problem(name).cfg > 1,
        "data sets of another project": lambda name: name in DATA_SETS,
        "held out, network of photographs": lambda name: name in PHOTOGRAPHS,
        "held out, networks of galaxies": lambda name: name in GALAXIES,
    }


def estimate_groups() -> dict[str, Callable[[str], bool]]:
    """For the runs' own errors."""
    return {
        "suite": lambda name: name in NAMES,
        "suite with CFG": lambda name: name in NAMES and problem(name).cfg > 1,
        "held out, data sets of another project": lambda name: name in DATA_SETS,
        "network of photographs": lambda name: name in PHOTOGRAPHS,
        "held out, networks of galaxies": lambda name: name in GALAXIES,
    }


def judged(errors: Sequence[ErrorRow]) -> list[ErrorRow]:
    """Rows with an estimate, whose true error is not below what counts."""
    return [
        row
        for row in errors
        if math.isfinite(row.estimate) and math.isfinite(row.true) and row.true > 1e-4 and not is_check(row.problem)
    ]
