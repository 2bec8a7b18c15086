"""What the quotient q of two noise estimates says about u, the fraction of a band that is noise.

Items 2 and 4 of the package's text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...noise_process import NoiseProcess
from ...precision import ROUNDING

NOISE_FRACTION_EXPANDING = 0.3
"""Used for u where the estimate is negative. There, solutions diverge between two modes of the data, which no
Gaussian can describe. A wide Gaussian (S = 1.5 s) is close enough, and errs on the side of caution."""

LOGIT_MAX = 14.0
"""Largest logit u that is told from 1, where all is noise. There, 1 - u is a few roundings of float32."""

SCATTER_OF_U = 0.5
"""How much of the variance of q is that of u where A was reached by a multistep step.

There, A also has what extrapolation got wrong, which turns eps_A away from eps_B. With 1, u is taken for too large and
too widely spread where that is much, and a claim relies too much on how eps has changed. With 0, no spread is seen.
"""

CHANCE = 2.0
"""Square of the standard errors that the mean of 1 - q must differ from 0 by. Of q's variance, only that of u counts.

It is needed where no later evaluation can tell chance from a real effect."""

_ROUNDED = 8 * ROUNDING
"""By how much the product of two sums may be off."""


class Quotients(NamedTuple):
    """What the quotients q of a pair of noise estimates say about u at A.

    sigma        noise level of A
    r            s_A/s_B
    euler        whether A was reached from B by an Euler step
    starts_at_a  whether the step that is to be corrected starts at A; if not, at B
    multistep    whether A was reached from B by a multistep step
    """

    sigma: float
    r: float
    euler: bool
    starts_at_a: bool
    multistep: bool = False

    @classmethod
    def of_levels(
        cls,
        process: NoiseProcess,
        sigma_a: float,
        sigma_b: float,
        *,
        euler: bool,
        starts_at_a: bool,
        multistep: bool = False,
    ) -> Quotients:
        """For evaluations at these noise levels."""
        r = (sigma_a * process.alpha(sigma_b)) / (process.alpha(sigma_a) * sigma_b)
        return cls(sigma_a, r, euler, starts_at_a, multistep)

    @property
    def share_of_u(self) -> float:
        """How much of the variance of q is that of u."""
        return SCATTER_OF_U if self.multistep else 1.0

    def distance(self, logit: Tensor) -> Tensor:
        """1 - q of a single u, computed so that nothing cancels where u is near 1."""
        u, rest = torch.sigmoid(logit), torch.sigmoid(-logit)
        if self.euler:
            return rest * (1 - self.r)
        return rest * (1 - self.r**2) / (1 + (self.r**2 + u * (1 - self.r**2)).sqrt())

    def of_mean(self, product: Tensor, square_a: Tensor, square_b: Tensor) -> tuple[Tensor, Tensor]:
        """u and 1 - u of the mean of u, times one number, from means of eps_A eps_B, eps_A^2 and eps_B^2."""
        mean, r = (product, self.r) if self.euler else (square_a, self.r**2)
        if self.multistep:
            mean = torch.lerp(product.square().div_(square_b), square_a, self.share_of_u)
        return torch.sub(mean, square_b, alpha=r), square_b - mean

    def read(self, product: Tensor, square_a: Tensor, square_b: Tensor) -> Tensor:
        """Where bands are in a :func:`.spread.plane`, [..., 2], from the same means.

        First the logit of the mean of u, over LOGIT_MAX: that of NOISE_FRACTION_EXPANDING where u is below 0, and next
        to 1 where u is 1. Then the spread, from 1 for a single u to -1 where u is either 0 or 1.
        """
        places = product.new_empty((*product.shape, 2))
        both = square_a * square_b
        variance = _variance(both, product)
        if self.multistep:
            square_a = both.sub_(variance.clamp_(min=0.0), alpha=1 - self.share_of_u) / square_b
        mean, r = (product, self.r) if self.euler else (square_a, self.r**2)
        u = torch.sub(mean, square_b, alpha=r)
        if self.euler:  # the spread is Var q, over that of the widest distribution
            widest = u * (square_b - product)
            torch.div(torch.sub(widest, variance, alpha=2.0), widest, out=places[..., 1])
        else:  # it is sqrt(E q^2) - E q, over that of the widest
            root, least = both.sqrt_(), torch.lerp(square_b, square_a, 1 / (1 + self.r))
            of_single = torch.sub(least, root, alpha=1 + _ROUNDED)
            torch.div((root + least).sub_(product, alpha=2 + _ROUNDED), of_single, out=places[..., 1])
            end = square_b * self.r
            beyond = product < end if self.r < 1 else product > end  # E q is not between r and 1
            places[..., 1].masked_fill_(beyond, 1.0)
            u.masked_fill_(beyond, -math.inf if self.r < 1 else math.inf)
        places[..., 1].clamp_(-1.0, 1.0)  # here, because grid_sample's border padding is missing on older MPS
        u.div_(square_b * (1 - r))
        torch.threshold_(u, -4 * ROUNDING, NOISE_FRACTION_EXPANDING)
        torch.mul(u.logit_(math.exp(-LOGIT_MAX)), 1 / LOGIT_MAX, out=places[..., 0])
        return places

    def may_be_chance(self, product: Tensor, square_a: Tensor, square_b: Tensor, numbers: Tensor) -> Tensor:
        """Whether chance may explain that the mean of q is not 1, [...] bool, from means over so many numbers."""
        variance = _variance(square_a * square_b, product).mul_(CHANCE * self.share_of_u)
        return (square_b - product).square_().mul_(numbers) <= variance

    def spread_of(self, mean: Tensor, mean_distance: Tensor, variance: Tensor) -> Tensor:
        """The same, of a distribution with this mean of u, mean of 1 - q and variance of q."""
        if self.euler:
            return variance / ((1 - self.r) ** 2 * mean * (1 - mean))
        root = (self.r**2 + mean * (1 - self.r**2)).sqrt()
        return variance * (1 + self.r) / ((root + 1 - mean_distance) * (root - self.r) * (1 - root))


def _variance(both: Tensor, product: Tensor) -> Tensor:
    """The variance of q, times <eps_B, eps_B>^2, that rounding cannot explain, from both squares' product."""
    return torch.addcmul(both, product, product, value=-1.0 - _ROUNDED)
