"""What the quotient of two noise estimates says about u, the fraction of a band that is noise.

Item 2 of the package's text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...noise_process import NoiseProcess
from ...precision import ROUNDING

NOISE_FRACTION_MIN = 1e-3
"""Smallest u. Below it, eps hardly depends on S, and an estimate would only reflect rounding errors."""

NOISE_FRACTION_EXPANDING = 0.3
"""Used for u where the estimate is negative. There, solutions diverge between two modes of the data, which no
Gaussian can describe. A wide Gaussian (S = 1.5 s) is close enough, and errs on the side of caution."""

TABLE = 1024
"""Grid intervals of the tabulated c.

The error of linear interpolation is 1e-5 of c, and 1e-3 where a flow model's first step makes c steepest.
"""


class Quotients(NamedTuple):
    """What the quotient q of a pair of noise estimates says about u at A (item 2 of the package's text).

    sigma  noise level of A
    r      s_A/s_B
    euler  whether A was reached from B by an Euler step
    """

    sigma: float
    r: float
    euler: bool

    @classmethod
    def of_levels(cls, process: NoiseProcess, sigma_a: float, sigma_b: float, *, euler: bool) -> Quotients:
        """For evaluations at these noise levels."""
        return cls(sigma_a, (sigma_a * process.alpha(sigma_b)) / (process.alpha(sigma_a) * sigma_b), euler)

    def noise_fraction(self, q: Tensor) -> Tensor:
        """u at A."""
        return (q - self.r) / (1 - self.r) if self.euler else (q * q.abs() - self.r**2) / (1 - self.r**2)

    def signal_to_noise(self, q: Tensor) -> Tensor:
        """(1 - u)/u at A."""
        q, r = (q, self.r) if self.euler else (q * q.abs(), self.r**2)
        return (1 - q) / (q - r)

    def of(self, noise_fraction: float) -> float:
        """The q at which u has this value."""
        if self.euler:
            return self.r + noise_fraction * (1 - self.r)
        square = self.r**2 + noise_fraction * (1 - self.r**2)
        return math.copysign(math.sqrt(abs(square)), square)

    def positions(self, product: Tensor, square: Tensor) -> Tensor:
        """The position of q = product/square in a table: 0 where q is 1, and TABLE where q is at its bound.

        Near either end, c may change like the square root of the distance. The arcsine makes positions dense there.
        u stays within its bounds. A q above 1 counts as 1.
        """
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        # 1 + share (q - 1): it is 1 where q is 1, -1 at the bound, and NaN where product and square are 0.
        position = torch.lerp(square, product, share).div_(square)
        beyond, instead = (1.0 + share * (self.of(u) - 1.0) for u in (0.0, NOISE_FRACTION_EXPANDING))
        torch.threshold_(position, beyond - ROUNDING, instead)
        # TABLE/2 - TABLE/pi arcsin(position). The product is rounded before the sum, so that 1 gives 0 exactly.
        return position.clamp_(-1.0, 1.0).asin_().mul_(-TABLE / math.pi).add_(TABLE / 2)

    def grid(self) -> Tensor:
        """u at positions from 0 to TABLE, [TABLE + 1] float64 on the host."""
        position = torch.linspace(-1, 1, TABLE + 1, dtype=torch.float64, device="cpu")
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        return self.noise_fraction(1.0 - (torch.sin(position * (math.pi / 2)) + 1.0) / share).clamp(
            NOISE_FRACTION_MIN, 1.0
        )
