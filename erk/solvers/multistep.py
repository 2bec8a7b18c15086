"""What multistep methods share: a base class, and weights of interpolatory quadrature, computed on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from ..evaluation import Evaluation
from ..noise_process import NoiseProcess
from ..pair import EmbeddedPair
from .base import History, Solver, Step


@dataclass(frozen=True)
class Multistep(Solver):
    """A method with one model call per step that uses the evaluations of earlier steps.

    The pair is this step's start and the previous one's.

    max_order  2, 3 or 4: how many evaluations are used, once there are that many
    """

    calls: ClassVar[int] = 1
    pair_looks_back: ClassVar[bool] = True
    max_order: int = 3

    @property
    def order(self) -> int:
        return self.max_order

    @property
    def memory(self) -> int:
        return self.max_order - 1

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        return EmbeddedPair.of_last_two(current, history)


def interpolatory_weights(
    nodes: Sequence[float],
    start: float,
    end: float,
    density: Callable[[float], float],
    coordinate: Callable[[float], float] = lambda t: t,
) -> tuple[float, ...]:
    """w_j = integral from start to end of L_j(coordinate(t)) density(t) dt, where L_j are the Lagrange polynomials.

    The quadrature is Gauss-Legendre with 24 points. It is exact up to rounding where the integrand is smooth.
    """
    weights = [0.0] * len(nodes)
    for position, weight in _GAUSS_LEGENDRE:
        t = start + (end - start) * position
        scale, place = weight * (end - start) * density(t), coordinate(t)
        for j, node in enumerate(nodes):
            weights[j] += scale * math.prod((place - other) / (node - other) for k, other in enumerate(nodes) if k != j)
    return tuple(weights)


_ALPHA_MIN = 1e-4
"""Smallest alpha in sigma/alpha. Flow models start at alpha 0, where a node at 1e4 is as good as one at infinity."""


@lru_cache(maxsize=4096)
def data_weights(process: NoiseProcess, sigmas: tuple[float, ...], start: float, end: float) -> tuple[float, ...]:
    """Weights of D at the given distinct noise levels in x_end = (end/start) x_start + sum of weight D.

    The exact form is x_t = (t/s) x_s - t * integral from s to t of D/sigma^2 dsigma (Lu et al. 2022, DPM-Solver++,
    eq. 8). D is interpolated by a polynomial in sigma/alpha.
    """

    def scaled(sigma: float) -> float:
        return sigma / max(process.alpha(sigma), _ALPHA_MIN)

    # Integrate over log sigma. There the integrand is smooth, however long the step is.
    weights = interpolatory_weights(
        [scaled(sigma) for sigma in sigmas],
        math.log(start),
        math.log(end),
        density=lambda log_sigma: -end * math.exp(-log_sigma),
        coordinate=lambda log_sigma: scaled(math.exp(log_sigma)),
    )
    # Their sum is known. Scaling to it integrates a constant D without the quadrature's rounding.
    scale = (1.0 - end / start) / sum(weights)
    return tuple(weight * scale for weight in weights)


@lru_cache(maxsize=4096)
def drift_weights(sigmas: tuple[float, ...], start: float, end: float) -> tuple[float, ...]:
    """Weights of d at the given distinct noise levels in x_end = x_start + sum of weight d.

    The drift is interpolated in the time t of the variance-preserving process and integrated in sigma:
    w_j = int L_j(t(sigma)) dsigma (Zhang & Chen 2023, DEIS, section 3.3). The quadrature is in t.
    """
    return interpolatory_weights([_vp_time(sigma) for sigma in sigmas], _vp_time(start), _vp_time(end), _vp_sigma_rate)


# The VP process with linear beta, fitted as in Karras et al. 2022 (table 1): sigma goes from 0.002 to 80
# while t goes from 0.001 to 1. ComfyUI's deis uses the same numbers on every model.
_T_MIN, _SIGMA_MIN, _SIGMA_MAX = 1e-3, 0.002, 80.0
_BETA_D = 2 * (math.log1p(_SIGMA_MIN**2) / _T_MIN - math.log1p(_SIGMA_MAX**2)) / (_T_MIN - 1)
_BETA_MIN = math.log1p(_SIGMA_MAX**2) - 0.5 * _BETA_D


def _vp_time(sigma: float) -> float:
    return (math.sqrt(_BETA_MIN**2 + 2 * _BETA_D * math.log1p(sigma**2)) - _BETA_MIN) / _BETA_D


def _vp_sigma_rate(t: float) -> float:
    """dsigma/dt, with sigma^2 = exp(beta_d t^2/2 + beta_min t) - 1."""
    exponent = 0.5 * _BETA_D * t**2 + _BETA_MIN * t
    return 0.5 * (_BETA_D * t + _BETA_MIN) * math.exp(exponent) / math.sqrt(math.expm1(exponent))


def distinct(points: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """The newest points before the first repeated noise level, because a polynomial needs distinct nodes."""
    seen: set[float] = set()
    for count, point in enumerate(points):
        if point.sigma in seen:
            return points[:count]
        seen.add(point.sigma)
    return points


def _gauss_legendre(order: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on [0, 1], by Newton's method on the Legendre polynomial."""
    rule = []
    for i in range(order):
        z = math.cos(math.pi * (i + 0.75) / (order + 0.5))
        for _ in range(100):
            p, p_old = 1.0, 0.0
            for n in range(order):
                p, p_old = ((2 * n + 1) * z * p - n * p_old) / (n + 1), p
            slope = order * (z * p - p_old) / (z * z - 1)
            change = p / slope
            z -= change
            if abs(change) < 1e-15:
                rule.append(((1 - z) / 2, 1 / ((1 - z * z) * slope * slope)))
                break
    return tuple(rule)


_GAUSS_LEGENDRE = _gauss_legendre(24)
