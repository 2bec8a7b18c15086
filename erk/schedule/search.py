"""The levels whose steps miss least, by dynamic programming, and what the steps of a schedule miss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .trajectory import INFINITE, Path, Trajectory, top_of

GRID = 40
"""Levels among which a plan chooses, at least; at least twice as many as steps."""


_UNSTEADY = 1e3
"""What a longer step costs: more than any error, and less than no way at all."""


def planned_levels(paths: Sequence[Path], steps: int, lowest: float, end: float, growth: float) -> list[float]:
    """s of a plan: ``steps`` levels that are followed by a step to 0, or ``steps`` + 1 down to ``end`` above 0.

    lowest  least level to visit
    growth  how much longer than the step before a step may be, in log s
    """
    if steps == 1:
        return [float(paths[0].s[0]), *([end] if end else [])]
    s = _grid(paths, end or lowest, max(GRID, 2 * steps))
    trajectory, m = Trajectory(paths, s), len(s)
    level = torch.arange(m)
    past, start, to = level.view(m, 1, 1), level.view(1, m, 1), level.view(1, 1, m)
    length, last_length = torch.log(s[start] / s[to]), torch.log(s[past] / s[start])
    unsteady = (length > growth * last_length) & ((past > 0) | (float(s[0]) < INFINITE / 2))
    cost = trajectory.missed(past, start, to) + _UNSTEADY * unsteady
    cost = cost.masked_fill((past >= start) | (start >= to), math.inf)
    # least[p, j]: cost of the best way to level j whose level before is p
    least = torch.full((m, m), math.inf, dtype=torch.float64)
    least[0, 1:] = trajectory.missed(None, level[:1], level[1:])
    origins = []
    for _ in range(steps - (1 if end else 2)):
        least, origin = (least[:, :, None] + cost).min(dim=0)
        origins.append(origin)
    if end:
        least[:, :-1] = math.inf
    else:
        least = least + trajectory.missed_last(level)
    before, last = divmod(int(least.argmin()), m)
    way = [last, before]
    for origin in reversed(origins):
        way.append(int(origin[way[-1], way[-2]]))
    return s[way[::-1]].tolist()


def _grid(paths: Sequence[Path], lowest: float, count: int) -> Tensor:
    """Levels to choose among, even in log s; the first stands apart where it is infinite."""
    first = float(paths[0].s[0])
    infinite = first >= INFINITE / 2
    top = max(top_of(path) for path in paths) if infinite else first
    grid = torch.linspace(math.log(top), math.log(lowest), count - infinite, dtype=torch.float64).exp()
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
