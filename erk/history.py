"""What a run remembers of its evaluations."""

from __future__ import annotations

from collections import deque

from .evaluation import Evaluation
from .solvers import History as Points
from .solvers import Solver


class History:
    """The last evaluations, newest first. What is not needed any more is freed.

    points  the evaluations, as :data:`erk.solvers.History`; at first those of the run that this one continues
    paired  whether embedded pairs are used
    """

    def __init__(self, solver: Solver, paired: bool, points: Points = ()) -> None:
        self._solver, self._paired = solver, paired
        length = max(solver.memory, 1) if paired and solver.pair_looks_back else solver.memory
        self._points: deque[Evaluation] = deque(points[:length], maxlen=length)

    @property
    def points(self) -> Points:
        return self._points

    @property
    def has_states(self) -> bool:
        """Whether the newest evaluation has its state: a pair that looks back needs it.

        It may not, in the first step of a run that continues one without pairs.
        """
        return not self._points or self._points[0].x.numel() > 0

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels of the evaluations that the solver itself uses."""
        return tuple(point.sigma for point in self._points)[: self._solver.memory]

    def remember(self, point: Evaluation) -> None:
        for i in range(len(self._points)):
            self._points[i] = self._solver.kept(self._points[i], age=i + 2)
        # the pair needs the newest one whole
        self._points.appendleft(point if self._paired else self._solver.kept(point, age=1))
