"""Runs samplers on the problems. A run gives one row and the error of every sample."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..instruments.comfy_model import Bench
from ..instruments.peers import PEER, PEERS
from ..instruments.problem import Problem
from ..instruments.problems import NAMES, problem
from ..instruments.reference import Reference, converge
from ..instruments.stock import DETERMINISTIC, steps_within
from ..instruments.tables import share_worse

BUDGETS = (8, 12, 16, 24, 32, 64)
QUICK_BUDGETS, QUICK_KINDS = (8, 16, 32), ("eps", "flow")
SCHEDULES = {
    "eps": ("karras", "normal", "simple", "beta", "kl_optimal"),
    "edm": ("karras",),
    "flow": ("simple", "beta", "normal", "kl_optimal"),
    "flow1": ("simple",),
}
"""The schedules of each kind of model.

Every problem runs on the first, and on one of the others in turn (on all of them with --all-schedules).
"""

GRID = tuple(itertools.product((0.5, 1.0, 2.0), (0.1, 0.5)))
"""Values of (w_stiff, w_con). Mode "paper_tuned" takes the best of these and the preset."""

TUNED = "paper_tuned"


@dataclass(frozen=True)
class Row:
    """One run.

    budget           allowed model calls; ``calls`` were made, in ``steps`` steps
    mode             the mode of this pack's samplers, or "stock" for ComfyUI's own, "peer" for those of
                     bench/instruments/peers.py
    w_stiff, w_con   the settings of mode "paper_tuned", chosen in hindsight by the distance to the reference
    mean, median, p90  of the samples' RMS distances to the reference
    worse            share of samples further from the reference than with mode off of the same solver; NaN for stock
    reference_error  estimated mean error of the reference itself
    """

    problem: str
    kind: str
    schedule: str
    budget: int
    sampler: str
    mode: str
    w_stiff: float
    w_con: float
    steps: int
    calls: int
    mean: float
    median: float
    p90: float
    worse: float
    samples: int
    reference_error: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        return self.problem, self.kind, self.schedule, self.budget, self.sampler, self.mode


@cache
def reference(name: str, kind: str, sigma_start: float, samples: int | None = None) -> Reference:
    """The converged solution of a problem from ComfyUI's own start. It is kept for the next schedule.

    samples  instead of the problem's own number
    """
    what = problem(name)
    bench = Bench(what, kind, what.noise(samples))
    start = bench.start(torch.tensor([sigma_start]))
    options = {"breaks": what.breaks(bench.flow), "min_steps": what.min_steps}
    return converge(lambda x, sigma: what.denoise(x, sigma, bench.flow), start, sigma_start, **options)


class Cell:
    """One problem, kind of model, schedule and budget, for which samplers are compared."""

    def __init__(self, what: Problem, bench: Bench, schedule: str, budget: int) -> None:
        self.what, self.bench, self.schedule, self.budget = what, bench, schedule, budget
        self._off: dict[str, Tensor] = {}
        # Schedules of different lengths start at the same level, up to rounding. All flow models start at 1.
        self.reference = reference(
            what.name, "flow" if bench.flow else bench.kind, round(float(bench.sigmas(schedule, 8)[0]), 5)
        )

    def rows(self, sampler: str, wanted: Iterable[str]) -> Iterator[Row]:
        """The runs of one sampler in the wanted modes. There are none if the budget is too small for it."""
        steps = steps_within(sampler, self.budget)
        if steps < 2:
            return
        for mode in wanted:
            if mode == PEER:
                if self.bench.kind in PEERS[sampler].kinds:
                    yield self._run(sampler, steps, mode, {})[0]
            elif mode == "stock":
                yield self._run(sampler, steps, mode, DETERMINISTIC[sampler])[0]
            elif mode == TUNED:
                yield self._tuned(sampler, steps)
            else:
                yield self._run(sampler, steps, mode, {"mode": mode})[0]

    def errors(self, sampler: str, mode: str) -> Tensor:
        """The error of each sample with one of this pack's samplers, [B]."""
        return self._run(sampler, steps_within(sampler, self.budget), mode, {"mode": mode})[1]

    def _tuned(self, sampler: str, steps: int) -> Row:
        options = [
            {"mode": "paper"},
            *({"mode": "paper", "w_stiff": w_stiff, "w_con": w_con} for w_stiff, w_con in GRID),
        ]
        made = [self._run(sampler, steps, TUNED, option)[0] for option in options]
        return replace(min(made, key=lambda row: row.mean), seconds=sum(row.seconds for row in made))

    def _run(self, sampler: str, steps: int, mode: str, options: dict[str, Any]) -> tuple[Row, Tensor]:
        begin = time.perf_counter()
        function = PEERS[sampler].sample if mode == PEER else sampler
        samples, calls = self.bench.sample(function, self.bench.sigmas(self.schedule, steps), options)
        seconds = time.perf_counter() - begin
        errors = self.reference.distance(samples)
        worse = math.nan
        if mode == "off":
            self._off[sampler] = errors
            worse = 0.0
        elif mode not in ("stock", PEER):
            if sampler not in self._off:
                self.errors(sampler, "off")
            worse = share_worse(errors, self._off[sampler])
        row = Row(
            self.what.name,
            self.bench.kind,
            self.schedule,
            self.budget,
            sampler,
            mode,
            options.get("w_stiff", math.nan),
            options.get("w_con", math.nan),
            len(self.bench.sigmas(self.schedule, steps)) - 1,
            calls,
            float(errors.mean()),
            float(errors.quantile(0.5)) if errors.isfinite().all() else float(errors.sort().values[len(errors) // 2]),
            float(errors.sort().values[min(len(errors) - 1, round(0.9 * len(errors)))]),
            worse,
            len(errors),
            float(self.reference.error.mean()),
            seconds,
        )
        if calls > self.budget:
            raise RuntimeError(
                f"{sampler} made {calls} model calls, but only {self.budget} are allowed: bench/instruments/stock.py "
                "counts its calls wrongly."
            )
        return row, errors


def plan(
    names: Iterable[str], kinds: Iterable[str], all_schedules: bool, first_only: bool
) -> list[tuple[str, str, str]]:
    """The list of (problem, kind, schedule).

    Each problem is on the first schedule of each kind, and on one of the others in turn.
    """
    made = []
    for name in names:
        turn = NAMES.index(name)
        for kind in kinds:
            first, *others = SCHEDULES[kind]
            chosen = others if all_schedules else others[turn % len(others) :][:1] if others else []
            made += [(name, kind, schedule) for schedule in ([first] if first_only else [first, *chosen])]
    return made
