"""Runs a few problems, in seconds, for the tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from ..instruments.comfy_model import Bench
from ..instruments.problems import QUICK_NAMES, problem
from ..instruments.stock import erk_samplers, modes
from .measure import QUICK_KINDS, Cell, plan


@dataclass(frozen=True)
class Ratio:
    """The mean error of a mode, divided by that of mode off, in one cell."""

    problem: str
    kind: str
    sampler: str
    calls: int
    ratio: float
    worse: float


def quick_cells(mode: str = "calibrated", budgets: Iterable[int] = (12, 24)) -> list[Ratio]:
    """One ratio per sampler of this pack, for the quick problems on the first schedule of each kind.

    Raises ValueError for an unknown mode.
    """
    if mode not in modes():
        raise ValueError(f"There is no mode {mode!r}: the pack has {', '.join(modes())}.")
    made = []
    for name, kind, schedule in plan(QUICK_NAMES, QUICK_KINDS, all_schedules=False, first_only=True):
        what = problem(name)
        bench = Bench(what, kind, what.noise())
        for budget in budgets:
            cell = Cell(what, bench, schedule, budget)
            for sampler in erk_samplers():
                off, guided = cell.rows(sampler, ("off", mode))
                made.append(Ratio(name, kind, sampler, guided.calls, guided.mean / off.mean, guided.worse))
    return made


def quick_ratios(mode: str = "calibrated", budgets: Iterable[int] = (12, 24)) -> dict[tuple[str, str], float]:
    """The ratio of the mean errors, mode / off, as a geometric mean over the quick problems.

    The keys are (sampler, "eps" or "flow").
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for cell in quick_cells(mode, budgets):
        groups.setdefault((cell.sampler, cell.kind), []).append(cell.ratio)
    return {group: statistics.geometric_mean(ratios) for group, ratios in groups.items()}
