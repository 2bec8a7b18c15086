"""What multistep methods share: weights of interpolatory quadrature, on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..evaluation import Evaluation


def interpolatory_weights(
    nodes: Sequence[float],
    start: float,
    end: float,
    density: Callable[[float], float],
    coordinate: Callable[[float], float] = lambda t: t,
) -> tuple[float, ...]:
    """w_j = integral from start to end of L_j(coordinate(t)) density(t) dt, with L_j the Lagrange polynomials of the nodes.

    Exact up to rounding where the integrand is smooth: Gauss-Legendre quadrature of 24 points.
    """
    weights = [0.0] * len(nodes)
    for position, weight in _GAUSS_LEGENDRE:
        t = start + (end - start) * position
        scale, place = weight * (end - start) * density(t), coordinate(t)
        for j, node in enumerate(nodes):
            weights[j] += scale * math.prod((place - other) / (node - other) for k, other in enumerate(nodes) if k != j)
    return tuple(weights)


def distinct(points: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """The newest points up to the first that returns to a noise level: a polynomial needs distinct nodes."""
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
                break
        rule.append(((1 - z) / 2, 1 / ((1 - z * z) * slope * slope)))
    return tuple(rule)


_GAUSS_LEGENDRE = _gauss_legendre(24)
