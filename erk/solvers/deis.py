from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from ..evaluation import Denoise, Evaluation, add_scaled
from .base import History, Step
from .multistep import Multistep, distinct, drift_weights

Coefficients = Callable[[tuple[float, ...], float], tuple[float, ...]]
"""(noise levels of the evaluations, newest first; sigma_next) -> their weights."""


def adams_bashforth_vp(sigmas: tuple[float, ...], sigma_next: float) -> tuple[float, ...]:
    """Weights of the tAB multistep method: Zhang & Chen 2023 (DEIS), section 3.3."""
    return drift_weights(sigmas, sigmas[0], sigma_next)


@dataclass(frozen=True)
class DEIS(Multistep):
    """DEIS (tAB): Adams-Bashforth in the VP time, one model call. Order 2 to 4 after a warm-up.

    Zhang & Chen 2023.

    coefficients  computes the multistep weights; pass another function to use another implementation's weights
    """

    name: ClassVar[str] = "deis"
    title: ClassVar[str] = "DEIS"
    coefficients: Coefficients = adams_bashforth_vp

    def kept(self, past: Evaluation, age: int) -> Evaluation:
        return past.drift_only()

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next <= 0 or not history:
            return Step(add_scaled(current.x, current.d, sigma_next - current.sigma))
        points = distinct((current, *history)[: self.max_order])
        weights = _cached(self.coefficients, tuple(point.sigma for point in points), sigma_next)
        x_next = add_scaled(current.x, current.d, weights[0])
        for weight, point in zip(weights[1:], points[1:], strict=True):
            add_scaled(x_next, point.d, weight, out=x_next)
        return Step(x_next)


@lru_cache(maxsize=4096)
def _cached(coefficients: Coefficients, sigmas: tuple[float, ...], sigma_next: float) -> tuple[float, ...]:
    return coefficients(sigmas, sigma_next)
