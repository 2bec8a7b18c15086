r"""D along traced paths, and what a step between any two of its levels would miss.

Everything is linear in the traced D's: D at a level, its integral, and so each step's error, are weighted sums of them,
and the square of an error is a quadratic form in their inner products. So the size of the latent plays no part in
planning. Levels are s = sigma/alpha throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..error import answered
from ..noise_process import NoiseProcess
from ..trace import Trace

INFINITE = 1e4
"""Taken for s where alpha is 0: no level that matters is as high."""

LAST_SHARE = 0.6
"""How much of D's way below the last level the step to 0 misses: some solvers all of it, the calibrated rule half.

Below the last traced level D - D(0) goes as s, as at edges.
"""

_LOOK = 0.4
"""How far above and below a level D's change is looked at, in log s."""

_FINE = 8
"""Intervals that an integral between two levels is made of."""


def scaled(process: NoiseProcess, sigma: float) -> float:
    """s = sigma/alpha."""
    return sigma / max(process.alpha(sigma), sigma / INFINITE)


class Path(NamedTuple):
    """One trace, as far as planning needs it.

    s         its levels, falling, [n] float64
    products  mean over samples and places of D_a D_b, less the last D and over their contrast, [n, n]
    is_flow   the model's process: some solvers follow sigma, not s
    """

    s: Tensor
    products: Tensor
    is_flow: bool

    @classmethod
    def of(cls, trace: Trace, process: NoiseProcess) -> Path:
        newest = {prediction.sigma: prediction.denoised for prediction in trace.predictions if prediction.sigma > 0}
        levels = sorted(newest, reverse=True)
        denoised = torch.stack([newest[level] for level in levels]).cpu()
        contrast = denoised[-1].var(dim=1, correction=0).mean().sqrt().clamp(min=1e-12)
        change = ((denoised - denoised[-1]) / contrast).flatten(1).double()
        s = torch.tensor([scaled(process, level) for level in levels], dtype=torch.float64)
        return cls(s, change @ change.T / change.shape[1], process.is_flow)

    def places(self, s: Tensor) -> Tensor:
        """-log s; a first level at infinity stands a little above the second, where D does not change any more."""
        place = -s.log()
        if float(self.s[0]) < INFINITE / 2:
            return place
        return place.clamp(min=min(-math.log(top_of(self)) - 3.0, -math.log(float(self.s[1])) - 1.0))

    def rows(self, s: Tensor) -> Tensor:
        """Weights of the traced D's in D at these levels, [m] -> [m, n]."""
        nodes, wanted = self.places(self.s), self.places(s)
        beyond = ((self.s[-1] - s) / (self.s[-2] - self.s[-1])).clamp(min=0.0)
        rows = _cubic(nodes, wanted.clamp(max=float(nodes[-1])))
        rows[:, -1] += beyond
        rows[:, -2] -= beyond
        return rows


def top_of(path: Path) -> float:
    """The highest finite level worth a visit where the first is infinite."""
    return max(4.0 * float(path.s[1]), 30.0)


def _cubic(nodes: Tensor, wanted: Tensor) -> Tensor:
    """Weights of values at the nodes in a piecewise cubic through them, whose slopes are those of parabolas."""
    n, h = len(nodes), nodes.diff()
    chord = torch.zeros(n - 1, n, dtype=torch.float64)
    chord.diagonal().copy_(-1 / h)
    chord.diagonal(1).copy_(1 / h)
    slope = torch.zeros(n, n, dtype=torch.float64)
    slope[1:-1] = (chord[:-1] * h[1:, None] + chord[1:] * h[:-1, None]) / (h[1:] + h[:-1])[:, None]
    slope[0], slope[-1] = 1.5 * chord[0] - 0.5 * slope[1], 1.5 * chord[-1] - 0.5 * slope[-2]
    left = (torch.searchsorted(nodes, wanted, right=True) - 1).clamp(0, n - 2)
    width = h[left][:, None]
    t = ((wanted - nodes[left]) / h[left])[:, None]
    value = torch.eye(n, dtype=torch.float64)
    start = (2 * t**3 - 3 * t**2 + 1) * value[left] + (t**3 - 2 * t**2 + t) * width * slope[left]
    return start + (3 * t**2 - 2 * t**3) * value[left + 1] + (t**3 - t**2) * width * slope[left + 1]


def _left(path: Path, s: Tensor) -> Tensor:
    """The share of an error at these falling levels that is left at the path's last one, [m]: see :mod:`erk.error`."""
    above, here, below = (path.rows(s * math.exp(_LOOK * side)) for side in (1, 0, -1))
    rates = [torch.einsum("mi,ij,mj->m", row, path.products, row) for row in (above - here, here - below)]
    fading = 1 - answered(rates[0].clamp(min=0).sqrt(), rates[1].clamp(min=0).sqrt(), _LOOK)
    fading = torch.where(s >= path.s[-1], fading, 0.0)
    faded = (fading[1:] + fading[:-1]) / 2 * -s.log().diff()
    return torch.cat([faded.flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64)]).neg().exp()


class Trajectory:
    """The paths at chosen levels; its errors are means over the paths.

    s  [m] float64, falling
    """

    def __init__(self, paths: Sequence[Path], s: Tensor) -> None:
        self.s, m = s, len(s)
        share = torch.arange(_FINE, dtype=torch.float64) / _FINE
        place = -s.log()
        fine = torch.cat([(place[:-1, None] + place.diff()[:, None] * share).flatten(), place[-1:]]).neg().exp()
        forms, left = [], []
        for path in paths:
            rows = path.rows(fine)
            # int D/sigma^2 dsigma from the first level down to each, with D linear in 1/s between the fine levels
            parts = (rows[1:] + rows[:-1]) / 2 * (1 / fine).diff()[:, None]
            integral = torch.cat([torch.zeros_like(rows[:1]), parts.cumsum(0)])
            at = torch.cat([rows[::_FINE], integral[::_FINE], path.rows(torch.zeros(1, dtype=torch.float64) + 1e-9)])
            forms.append(at @ path.products @ at.T)
            left.append(_left(path, fine)[::_FINE])
        self._form = torch.stack(forms).mean(0)  # of D at each level, its integrals, and D(0): [2 m + 1, 2 m + 1]
        self._m = m
        self._left = torch.stack(left).mean(0)
        self._log_sigma = torch.log(s / (1 + s) if paths[0].is_flow else s)

    def missed(self, past: Tensor | None, start: Tensor, end: Tensor) -> Tensor:
        """Squared errors in the picture, of steps between levels given by their numbers (any shapes that broadcast).

        past  the levels before the start, for a step of second order: the mean of one with D linear in s (abm, deis)
              and one with it linear in log sigma (dpmpp_2m, res); None: an Euler step
        """
        s, m, log = self.s, self._m, self._log_sigma
        width = 1 / s[end] - 1 / s[start]
        exact: list[tuple[Tensor, Tensor | float]] = [(m + end, 1.0), (m + start, -1.0)]
        if past is None:
            square = self._square([*exact, (start, -width)])
        else:
            # What D's slope adds: int (sigma - s_start)/sigma^2 dsigma over the slope's own span
            linear = (torch.log(s[start] / s[end]) - s[start] * width) / (s[start] - s[past]).clamp(max=-1e-300)
            logarithmic = width * (log[start] - log[end]) / (2 * (log[past] - log[start]).clamp(min=1e-6))
            square = sum(
                self._square([*exact, (start, -(width + lean)), (past, lean)]) for lean in (linear, logarithmic)
            )
            square = square / 2
        return square * (s[end] * self._left[end]) ** 2

    def missed_last(self, start: Tensor) -> Tensor:
        """The same of steps to 0."""
        zero = torch.full_like(start, 2 * self._m)
        return self._square([(zero, 1.0), (start, -1.0)]) * LAST_SHARE**2

    def _square(self, terms: list[tuple[Tensor, Tensor | float]]) -> Tensor:
        """Of a weighted sum of rows."""
        total: Tensor | float = 0.0
        for k, (row, weight) in enumerate(terms):
            total = total + weight * weight * self._form[row, row]
            for other, other_weight in terms[:k]:
                total = total + 2.0 * weight * other_weight * self._form[row, other]
        assert isinstance(total, Tensor)
        return total.clamp(min=0.0)
