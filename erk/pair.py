"""The embedded pair: two states that a solver has evaluated anyway, and what their difference reveals.

Section 3.2 of the paper: to first order in the step length, the difference of the drifts over the
difference of the states is the Jacobian of the drift along that difference. Where the ODE is stiff, one
eigenvalue dominates. So the quotient of the norms estimates it, and the drifts' difference points along
its eigenvector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .evaluation import Evaluation
from .norms import norm

FLOOR = 1e-8
"""Added to norms before dividing, so that equal states have a stiffness of 0 instead of infinity."""


@dataclass(frozen=True)
class EmbeddedPair:
    """Two evaluations of one step, and how the paper's rule scales the correction that it makes from them.

    a, b  the evaluations; differences are a - b
    h     step length used in the rule, in units of sigma
    sign  -1 or +1: on which side of the solver's step the pair's difference is
    """

    a: Evaluation
    b: Evaluation
    h: float
    sign: float

    @classmethod
    def of_last_two(cls, current: Evaluation, history: Sequence[Evaluation]) -> EmbeddedPair | None:
        """This step's start and the newest past evaluation, h apart; None if there is no past evaluation yet."""
        if not history:
            return None
        return cls(a=current, b=history[0], h=history[0].sigma - current.sigma, sign=1.0)

    @classmethod
    def of_start_and_stage(
        cls, current: Evaluation, stages: Sequence[Evaluation], sigma_next: float
    ) -> EmbeddedPair | None:
        """The step's start and its first stage; None if it has no stage."""
        if not stages:
            return None
        return cls(a=current, b=stages[0], h=current.sigma - sigma_next, sign=-1.0)

    def difference(self) -> PairDifference:
        """Differences in float32, because in half precision their norms would overflow or vanish."""
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
