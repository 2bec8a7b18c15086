from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from torch import Tensor

from ..embedded_pair import EmbeddedPair
from ..evaluation import Denoise, Evaluation, add_scaled
from ..noise_process import SIGMA_SPACE, NoiseProcess
from .base import History, Solver, Step
from .multistep import distinct, interpolatory_weights


@dataclass(frozen=True)
class ABM(Solver):
    """Adams-Bashforth-Moulton on the data prediction, one model call. Order 2 to 4 after a warm-up.

    The step from s to t has the exact form x_t = (t/s) x_s - t * integral from s to t of D/sigma^2 dsigma, in
    which nothing stiff is left but D itself (Lu et al. 2022, DPM-Solver++, eq. 8). D is interpolated by a
    polynomial in sigma/alpha through the newest evaluations: *predicted* without the one at t, and when
    that has been made at the predicted state, *corrected* with it, as UniPC (Zhao et al. 2023) does in half-logSNR. Not in
    the paper, nor in ComfyUI. Its pair: this step's start and the previous one's, as for DEIS.

    max_order  2, 3 or 4: evaluations that predictor and corrector use
    """

    name: ClassVar[str] = "abm"
    pair_looks_back: ClassVar[bool] = True
    process: NoiseProcess = SIGMA_SPACE
    max_order: int = 3

    @property
    def memory(self) -> int:
        return self.max_order - 1

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        if not history or evaluated.sigma <= 0:
            return evaluated
        x = self._across(history[0], (evaluated, *history), evaluated.sigma)
        return Evaluation(x, evaluated.sigma, add_scaled(evaluated.d, x - evaluated.x, 1.0 / evaluated.sigma))

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next <= 0 or not history:
            return Step(current.euler(sigma_next))
        return Step(self._across(current, (current, *history), sigma_next))

    def _across(self, start: Evaluation, points: tuple[Evaluation, ...], sigma_next: float) -> Tensor:
        """From ``start`` to ``sigma_next`` with D interpolated through ``points``."""
        if sigma_next == start.sigma:
            return start.x
        points = distinct(points[: self.max_order])
        of_d = _weights(self.process, tuple(point.sigma for point in points), start.sigma, sigma_next)
        # sigma_next/sigma x + sum of weight D, with D = x - sigma d.
        of_x = [weight + (sigma_next / start.sigma if point is start else 0.0) for weight, point in zip(of_d, points, strict=True)]
        x_next = of_x[0] * points[0].x.to(start.d.dtype)
        for weight, point in zip(of_x[1:], points[1:], strict=True):
            add_scaled(x_next, point.x, weight, out=x_next)
        for weight, point in zip(of_d, points, strict=True):
            add_scaled(x_next, point.d, -weight * point.sigma, out=x_next)
        return x_next

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        if not history:
            return None
        return EmbeddedPair(a=current, b=history[0], h=history[0].sigma - current.sigma, sign=1.0)


_ALPHA_MIN = 1e-4
"""Least alpha in sigma/alpha: flow models start where alpha is 0, and a node at 1e4 is as good as one at infinity."""


@lru_cache(maxsize=4096)
def _weights(process: NoiseProcess, sigmas: tuple[float, ...], start: float, end: float) -> tuple[float, ...]:
    """Weights of D at the given noise levels, for the step from ``start`` to ``end``."""

    def scaled(sigma: float) -> float:
        return sigma / max(process.alpha(sigma), _ALPHA_MIN)

    # Integrated over log sigma, in which the integrand is smooth however long the step.
    weights = interpolatory_weights(
        [scaled(sigma) for sigma in sigmas],
        math.log(start),
        math.log(end),
        density=lambda log_sigma: -end * math.exp(-log_sigma),
        coordinate=lambda log_sigma: scaled(math.exp(log_sigma)),
    )
    # Their sum is known, so that a constant D is integrated without the quadrature's rounding.
    scale = (1.0 - end / start) / sum(weights)
    return tuple(weight * scale for weight in weights)
