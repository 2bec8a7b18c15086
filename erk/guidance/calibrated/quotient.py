"""What the quotient of two noise estimates says of u, the fraction of a band that is noise.

Item 2 of the package's text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...noise_process import NoiseProcess

NOISE_FRACTION_MIN = 1e-3
"""Least u: beyond, eps hardly depends on S any more and its estimate would be of rounding errors."""

NOISE_FRACTION_EXPANDING = 0.3
"""Taken for u where the estimate is negative: there the solution runs apart between two modes of the
data, which no Gaussian does. A wide one (S = 1.5 s) is near enough, and errs on the side of caution."""

ROUNDING = 2.0**-23
"""float32's: two numbers as near as that may have been the same."""

TABLE = 1024
"""Grid intervals of the tabulated c; linear interpolation leaves 1e-5 of c, and 1e-3 where a flow model's first step
makes it steepest.
"""


class Quotients(NamedTuple):
    """What the quotient q of a pair of noise estimates says of u at A (item 2 of the package's text).

    sigma  noise level of A
    r      s_A/s_B
    euler  whether A was reached from B by an Euler step
    """

    sigma: float
    r: float
    euler: bool

    @classmethod
    def of_levels(cls, process: NoiseProcess, sigma_a: float, sigma_b: float, *, euler: bool) -> Quotients:
        """Of evaluations at these noise levels."""
        return cls(sigma_a, (sigma_a * process.alpha(sigma_b)) / (process.alpha(sigma_a) * sigma_b), euler)

    def noise_fraction(self, q: Tensor) -> Tensor:
        """u at A."""
        return (q - self.r) / (1 - self.r) if self.euler else (q * q.abs() - self.r**2) / (1 - self.r**2)

    def signal_to_noise(self, q: Tensor) -> Tensor:
        """(1 - u)/u at A."""
        q, r = (q, self.r) if self.euler else (q * q.abs(), self.r**2)
        return (1 - q) / (q - r)

    def of(self, noise_fraction: float) -> float:
        """q where u is that."""
        if self.euler:
            return self.r + noise_fraction * (1 - self.r)
        square = self.r**2 + noise_fraction * (1 - self.r**2)
        return math.copysign(math.sqrt(abs(square)), square)

    def positions(self, product: Tensor, square: Tensor) -> Tensor:
        """Where q = product/square lies between 1, at -1, and its bound, at 1: a table's coordinate.

        c may go as the root of the distance from either end, so positions are as dense there as the arcsine makes them.
        u is between its own bounds; where q is beyond 1 it counts as 1.
        """
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        # 1 + share (q - 1): 1 where q is 1, -1 at the bound; NaN where product and square are 0.
        position = torch.lerp(square, product, share).div_(square)
        beyond, instead = (1.0 + share * (self.of(u) - 1.0) for u in (0.0, NOISE_FRACTION_EXPANDING))
        torch.threshold_(position, beyond - ROUNDING, instead)
        # -(2/pi) arcsin(position)
        return position.clamp_(-1.0, 1.0).asin_().mul_(-2.0 / math.pi)

    def grid(self) -> Tensor:
        """u at positions from -1 to 1, [TABLE + 1] float64 on the host."""
        position = torch.linspace(-1, 1, TABLE + 1, dtype=torch.float64, device="cpu")
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        return self.noise_fraction(1.0 - (torch.sin(position * (math.pi / 2)) + 1.0) / share).clamp(
            NOISE_FRACTION_MIN, 1.0
        )
