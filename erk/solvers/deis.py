from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from ..embedded_pair import EmbeddedPair
from ..evaluation import Denoise, Evaluation, add_scaled
from .base import History, Solver, Step
from .multistep import distinct, interpolatory_weights

Coefficients = Callable[[tuple[float, ...], float], tuple[float, ...]]
"""(noise levels of the evaluations, newest first; sigma_next) -> their weights."""


def adams_bashforth_vp(sigmas: tuple[float, ...], sigma_next: float) -> tuple[float, ...]:
    """Weights of the tAB multistep method: w_j = integral of the j-th Lagrange polynomial.

    Zhang & Chen 2023 (DEIS), section 3.3: the drift is interpolated in the time t of the
    variance-preserving process and integrated in sigma, w_j = int L_j(t(sigma)) dsigma from
    sigmas[0] to sigma_next. Exact up to rounding by Gauss-Legendre quadrature in t.
    """
    times = [_vp_time(sigma) for sigma in sigmas]
    return interpolatory_weights(times, times[0], _vp_time(sigma_next), _vp_sigma_rate)


# The VP process with linear beta, fitted as Karras et al. 2022 (table 1) do so that sigma runs from
# 0.002 to 80 while t runs from 0.001 to 1; ComfyUI's deis uses the same numbers on every model.
_T_MIN, _SIGMA_MIN, _SIGMA_MAX = 1e-3, 0.002, 80.0
_BETA_D = 2 * (math.log1p(_SIGMA_MIN**2) / _T_MIN - math.log1p(_SIGMA_MAX**2)) / (_T_MIN - 1)
_BETA_MIN = math.log1p(_SIGMA_MAX**2) - 0.5 * _BETA_D


def _vp_time(sigma: float) -> float:
    return (math.sqrt(_BETA_MIN**2 + 2 * _BETA_D * math.log1p(sigma**2)) - _BETA_MIN) / _BETA_D


def _vp_sigma_rate(t: float) -> float:
    """dsigma/dt, with sigma^2 = exp(beta_d t^2/2 + beta_min t) - 1."""
    exponent = 0.5 * _BETA_D * t**2 + _BETA_MIN * t
    return 0.5 * (_BETA_D * t + _BETA_MIN) * math.exp(exponent) / math.sqrt(math.expm1(exponent))


@dataclass(frozen=True)
class DEIS(Solver):
    """DEIS (tAB): Adams-Bashforth in the VP time, one model call. Order 2 to 4 after a warm-up.

    Zhang & Chen 2023. Its pair: this step's start and the previous step's; the rule's h is the
    interval between the two, and its sign is +1 (section 3 of the rule).

    max_order     2, 3 or 4
    coefficients  the multistep weights, to use those of another implementation
    """

    name: ClassVar[str] = "deis"
    past_states: ClassVar[bool] = False
    pair_looks_back: ClassVar[bool] = True
    max_order: int = 3
    coefficients: Coefficients = adams_bashforth_vp

    @property
    def memory(self) -> int:
        return self.max_order - 1

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next <= 0 or not history:
            return Step(add_scaled(current.x, current.d, sigma_next - current.sigma))
        points = distinct((current, *history))
        weights = _cached(self.coefficients, tuple(point.sigma for point in points), sigma_next)
        x_next = add_scaled(current.x, current.d, weights[0])
        for weight, point in zip(weights[1:], points[1:], strict=True):
            add_scaled(x_next, point.d, weight, out=x_next)
        return Step(x_next)

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        if not history:
            return None
        return EmbeddedPair(a=current, b=history[0], h=history[0].sigma - current.sigma, sign=1.0)


@lru_cache(maxsize=4096)
def _cached(coefficients: Coefficients, sigmas: tuple[float, ...], sigma_next: float) -> tuple[float, ...]:
    return coefficients(sigmas, sigma_next)
