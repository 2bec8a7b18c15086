"""The levels whose steps miss least, by dynamic programming, and what the steps of a schedule miss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .trajectory import INFINITE, Path, Trajectory, top_of

GRID = 80
"""Levels among which a plan chooses."""

SEARCHED = GRID // 2
"""Steps that can be chosen among them."""

_UNSTEADY = 1e3
"""What a longer step costs: more than any error, and less than no way at all."""


class Search:
    """The best levels for any number of steps up to ``SEARCHED``.

    lowest  least level to visit, if ``end``, the last level, is 0
    growth  how much longer than the step before a step may be, in log s
    """

    def __init__(self, paths: Sequence[Path], lowest: float, end: float, growth: float) -> None:
        self._s, self._to_zero = _grid(paths, end or lowest), not end
        self._end = [end] if end else []
        trajectory, m = Trajectory(paths, self._s), len(self._s)
        s, level = self._s, torch.arange(m)
        past, start, to = level.view(m, 1, 1), level.view(1, m, 1), level.view(1, 1, m)
        length, last_length = torch.log(s[start] / s[to]), torch.log(s[past] / s[start])
        unsteady = (length > growth * last_length) & ((past > 0) | (float(s[0]) < INFINITE / 2))
        cost = trajectory.missed(past, start, to) + _UNSTEADY * unsteady
        self._cost = cost.masked_fill((past >= start) | (start >= to), math.inf)
        self._last_cost = trajectory.missed_last(level)
        # [p, j]: cost of the best way to level j whose level before is p, after 1, 2, ... steps
        first = torch.full((m, m), math.inf, dtype=torch.float64)
        first[0, 1:] = trajectory.missed(None, level[:1], level[1:])
        self._least, self._origins = [first], []

    def levels(self, steps: int) -> list[float]:
        """s of ``steps`` levels that are followed by a step to 0, or of ``steps`` + 1 down to the last above 0."""
        if steps == 1:
            return [float(self._s[0]), *self._end]
        moves = steps - 1 if self._to_zero else steps
        while len(self._least) < moves:
            least, origin = (self._least[-1][:, :, None] + self._cost).min(dim=0)
            self._least.append(least)
            self._origins.append(origin)
        least = self._least[moves - 1]
        least = least + self._last_cost if self._to_zero else least[:, -1:]
        before, last = divmod(int(least.argmin()), least.shape[1])
        way = [last if self._to_zero else len(self._s) - 1, before]
        for origin in reversed(self._origins[: moves - 1]):
            way.append(int(origin[way[-1], way[-2]]))
        return self._s[way[::-1]].tolist()


def _grid(paths: Sequence[Path], lowest: float) -> Tensor:
    """Levels to choose among, even in log s; the first stands apart where it is infinite."""
    first = float(paths[0].s[0])
    infinite = first >= INFINITE / 2
    top = max(top_of(path) for path in paths) if infinite else first
    grid = torch.linspace(math.log(top), math.log(lowest), GRID - infinite, dtype=torch.float64).exp()
    return torch.cat([torch.tensor([first], dtype=torch.float64), grid]) if infinite else grid


def step_errors(paths: Sequence[Path], levels: Sequence[float]) -> list[float]:
    """What each step between these levels s leaves in the picture, over its contrast; the last may be 0."""
    to_zero = levels[-1] == 0
    s = torch.tensor(levels[: len(levels) - to_zero], dtype=torch.float64)
    trajectory, level = Trajectory(paths, s), torch.arange(len(s))
    squares = [trajectory.missed(None, level[:1], level[1:2]), trajectory.missed(level[:-2], level[1:-1], level[2:])]
    if to_zero:
        squares.append(trajectory.missed_last(level[-1:]))
    return torch.cat(squares).sqrt().tolist()
