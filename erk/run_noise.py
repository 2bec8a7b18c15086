"""The noise that a run adds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .guidance import AddedNoise
from .solvers import Ancestral, Solver

Draw = Callable[[int], Tensor]
"""(index of the step) -> noise of variance 1, [B, ...], for a solver that adds noise."""


class RunNoise:
    """The noise of a run; that of a solver without noise leaves every step as it is."""

    def __init__(self, solver: Solver, schedule: list[float], draw: Draw) -> None:
        self._schedule, self._draw, self._steps = schedule, draw, solver.noise_steps(schedule)
        self._amplitude = solver.amplitude if isinstance(solver, Ancestral) else 0.0

    @property
    def draws(self) -> bool:
        """Whether any step adds noise."""
        return self._steps is not None and any(step.draws for step in self._steps)

    def level(self, i: int) -> float:
        """The noise level that the solver itself steps to."""
        return self._schedule[i + 1] if self._steps is None else self._steps[i].sigma_down

    def of_step(self, i: int) -> AddedNoise | None:
        """What is added after the solver's step."""
        if self._steps is None or not self._steps[i].draws:
            return None
        return AddedNoise(self._steps[i], self._amplitude, self._draw(i))
