"""The embedded pair: two states a solver has evaluated anyway, and what their difference tells.

Section 3.2 of the paper: the difference of the drifts over the difference of the states is, up to the
size of the step, the Jacobian of the drift along that difference; where the ODE is stiff one
eigenvalue dominates, so the quotient of the norms estimates it and the drifts' difference points
along its eigenvector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluation import Evaluation

FLOOR = 1e-8
"""Added to norms before dividing (DESIGN of the rule: |delta| + 1e-8)."""


@dataclass(frozen=True)
class EmbeddedPair:
    """Two evaluations of one step, and how the paper's rule scales the correction made from them.

    a, b  the evaluations; differences are a - b
    h     step length that enters the rule, in units of sigma
    sign  -1 or +1: on which side of the solver's step the pair's difference lies
    """

    a: Evaluation
    b: Evaluation
    h: float
    sign: float

    def difference(self) -> PairDifference:
        """Differences in float32: in half precision their norms would overflow or vanish."""
        delta_x = self.a.x.float() - self.b.x.float()
        delta_d = self.a.d.float() - self.b.d.float()
        delta_x_norm, delta_d_norm = norm(delta_x), norm(delta_d)
        return PairDifference(delta_d, delta_d_norm, delta_d_norm / (delta_x_norm + FLOOR))


@dataclass(frozen=True)
class PairDifference:
    """The pair's difference, measured per sample.

    delta_d       difference of the drifts, [B, ...] float32
    delta_d_norm  its norm, [B]
    stiffness     rho-hat = |delta_d| / (|delta_x| + 1e-8), [B], unit 1/sigma
    """

    delta_d: Tensor
    delta_d_norm: Tensor
    stiffness: Tensor


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, [B, ...] -> [B], accumulated in float32, or in float64 where x is."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.promote_types(x.dtype, torch.float32))


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of each pair of samples, [B, ...] -> [B], accumulated in float32."""
    return (x.float() * y.float()).flatten(1).sum(dim=1)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...], to scale the samples of ``like``."""
    return values.view(-1, *(1,) * (like.ndim - 1))
