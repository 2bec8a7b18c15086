"""The cells that SCHEDULES.md judges, and to which group of models each belongs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .problems import NAMES, problem
from .schedule_rows import CHOSEN_BY, ErrorRow, Row
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


def groups() -> dict[str, Callable[[str], bool]]:
    return {
        "helped to choose": lambda name: name in CHOSEN_BY,
        "held out, suite": lambda name: name in NAMES and name not in CHOSEN_BY,
        "held out, suite with CFG": lambda name: name in NAMES and name not in CHOSEN_BY and problem(name).cfg > 1,
        "networks of others": lambda name: name not in NAMES,
    }


def judged(errors: Sequence[ErrorRow]) -> list[ErrorRow]:
    """Rows with an estimate, whose true error is not below what counts."""
    return [
        row
        for row in errors
        if math.isfinite(row.estimate) and math.isfinite(row.true) and row.true > 1e-4 and not is_check(row.problem)
    ]
