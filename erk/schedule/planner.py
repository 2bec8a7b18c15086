"""Plans, and the traces that they are made from."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from ..noise_process import FLOW, SIGMA_SPACE, NoiseProcess
from ..trace import RunInfo, Trace
from .given import check_traces, given_levels
from .search import SEARCHED, Search, step_errors
from .trajectory import Path, scaled

STEPS_MAX = 1000
"""Steps that a plan may have."""

TRACED_SHARE = 0.3
"""How much of the traced schedule is left in a plan: a path has accidents of its own, which others do not share."""

_GROWTH = 1.5
"""How much longer than the step before a step may be, in log sigma, on sigma-space models: what multistep solvers carry
over from a short step to a long one is unsure. Flow schedules end in long steps anyway."""

_LOWEST = 0.01
"""Least sigma/alpha that a plan visits, unless the traced run went lower."""

_SCALES = (0.05, 5.0)
"""By how much what a run's own hindsight found may differ from what is predicted of it."""

_WORTH = 0.9
"""A plan must promise an error this much of the traced schedule's, at most: predictions are rougher than a tenth."""

_NOTHING = 1e-6
"""Differences of errors that are rounding."""


@dataclass(frozen=True)
class Plan:
    """What :func:`plan_schedule` found.

    sigmas             [steps + 1] noise levels, the first and the last as traced
    predicted_error    the solver's error in the picture along them, over its contrast
    step_errors        of each step; together they are predicted_error
    given_sigmas, given_error, given_step_errors  the same of the traced schedule at as many steps
    is_better          False: no plan was predicted to err a tenth less, and ``sigmas`` are the given ones
    """

    sigmas: list[float]
    predicted_error: float
    step_errors: list[float]
    given_sigmas: list[float]
    given_error: float
    given_step_errors: list[float]
    is_better: bool


def plan_schedule(trace: Trace | Sequence[Trace], steps: int) -> Plan:
    """The noise levels that ``steps`` steps should visit.

    trace  of one run, or of several with the same model and first level, made with ``Trace(keep=True)``

    Raises TypeError for what is no trace or no whole number, ValueError for a number of steps out of range and for
    traces from which nothing can be planned.
    """
    return Planner(trace).plan(steps)


class Planner:
    """Plans for any number of steps from the same traces. Raises as :func:`plan_schedule`."""

    def __init__(self, trace: Trace | Sequence[Trace]) -> None:
        traces = check_traces([trace] if isinstance(trace, Trace) else list(trace))
        self._info: RunInfo = traces[0].info  # pyright: ignore[reportAttributeAccessIssue]: checked
        self._process: NoiseProcess = FLOW if self._info.model == FLOW.name else SIGMA_SPACE
        self._plans: dict[int, Plan] = {}
        self._scale = 1.0
        with torch.device("cpu"):  # in float64, which not every device has
            self._paths = [Path.of(one, self._process) for one in traces]
            self._scale = self._measured_over_predicted(traces)

    def plan(self, steps: int) -> Plan:
        """Of that many steps."""
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise TypeError(f"ERK-Guid: steps is {steps!r}, but must be a whole number from 1 to {STEPS_MAX}.")
        if not 1 <= steps <= STEPS_MAX:
            raise ValueError(f"ERK-Guid: steps is {steps}, but must lie between 1 and {STEPS_MAX}.")
        if steps not in self._plans:
            with torch.device("cpu"):
                self._plans[steps] = self._plan(steps)
        return self._plans[steps]

    def _plan(self, steps: int) -> Plan:
        given = given_levels(self._info.sigmas, steps, self._info.sigma_min)
        # A longer plan is read off between the levels of the longest that can be searched.
        planned = self._sigmas(steps) if steps <= SEARCHED else given_levels(self._sigmas(SEARCHED), steps, None)
        given_errors, errors = self._step_errors(given), self._step_errors(planned)
        is_better = sum(errors) < _WORTH * sum(given_errors) - _NOTHING
        if not is_better:
            planned, errors = given, given_errors
        return Plan(planned, math.fsum(errors), errors, given, math.fsum(given_errors), given_errors, is_better)

    def _sigmas(self, steps: int) -> list[float]:
        """The best levels, drawn towards those of the traced schedule."""
        best = self._search.levels(steps)
        given = [scaled(self._process, sigma) for sigma in given_levels(self._info.sigmas, steps, self._info.sigma_min)]
        inner = [
            best_s ** (1 - TRACED_SHARE) * given_s**TRACED_SHARE
            for best_s, given_s in zip(best[1:steps], given[1:steps], strict=True)
        ]
        back = (lambda s: s / (1 + s)) if self._process.is_flow else float
        return [self._info.sigmas[0], *map(back, inner), self._info.sigmas[-1]]

    @cached_property
    def _search(self) -> Search:
        traced = min(float(path.s[-1]) for path in self._paths)
        sigma_min = self._info.sigma_min
        floor = scaled(self._process, sigma_min) if sigma_min else _LOWEST if self._process.is_flow else traced
        lowest = min(traced, max(floor, _LOWEST))
        growth = math.inf if self._process.is_flow else _GROWTH
        return Search(self._paths, lowest, scaled(self._process, self._info.sigmas[-1]), growth)

    def _step_errors(self, sigmas: Sequence[float]) -> list[float]:
        levels = [scaled(self._process, sigma) for sigma in sigmas]
        return [self._scale * error for error in step_errors(self._paths, levels)]

    def _measured_over_predicted(self, traces: Sequence[Trace]) -> float:
        """What the runs' hindsight found, over what is predicted of them; 1 where nothing can be told."""
        measured = [error for one in traces for error in one.error if math.isfinite(error)]
        levels = self._info.sigmas
        predicted = math.fsum(self._step_errors([levels[0], *(b for a, b in itertools.pairwise(levels) if b != a)]))
        if not measured or not statistics.fmean(measured) > 0 or not predicted > 0:
            return 1.0
        return min(max(statistics.fmean(measured) / predicted, _SCALES[0]), _SCALES[1])
