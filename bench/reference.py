"""The converged end point of a problem's ODE, and how far from converged it is.

dx/dsigma = (x - D(x, sigma)) / sigma is the sampling ODE of sigma-space and flow models alike. It is
solved by the classical Runge-Kutta method of order 4 in float64, in the variable t = asinh(sigma / c):
steps are even in log sigma above c and even in sigma below it. The schedule does not stop at the
model's smallest noise level but goes on to 2e-5, where the distance to sigma = 0 no longer counts;
a reference that ends with one Euler step from sigma_min would be wrong by what the last step of a
sampler is about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA_END = 2e-5
SIGMA_BEND = 3e-3
"""Where the steps turn from even in log sigma to even in sigma: well below the width of any data here."""

Denoise = Callable[[Tensor, float], Tensor]
"""(x [B, ...] float64, sigma) -> denoised [B, ...]"""


@dataclass(frozen=True)
class Reference:
    """Where the ODE ends.

    samples  [B, ...] float64
    error    [B] estimate of the RMS error of each sample, from the run with half as many steps
    steps    Runge-Kutta steps used
    """

    samples: Tensor
    error: Tensor
    steps: int


def converge(
    denoise: Denoise, start: Tensor, sigma_start: float, tolerance: float = 1e-6, max_steps: int = 3200, steps: int = 100
) -> Reference:
    """Double ``steps`` until the mean error estimate is below ``tolerance``, or ``max_steps`` is reached.

    start  [B, ...] the state at sigma_start, in any dtype
    """
    start = start.double()
    coarse = _solve(denoise, start, sigma_start, steps)
    while True:
        steps *= 2
        fine = _solve(denoise, start, sigma_start, steps)
        # An error of order 4 falls to a sixteenth: the difference is 15 times what is left.
        error = rms(fine - coarse) / 15
        if float(error.mean()) < tolerance or 2 * steps > max_steps:
            return Reference(fine, error, steps)
        coarse = fine


def rms(difference: Tensor) -> Tensor:
    """Root mean square over all but the first dimension, [B, ...] -> [B] float64."""
    return difference.double().flatten(1).square().mean(1).sqrt()


@torch.no_grad()
def _solve(denoise: Denoise, x: Tensor, sigma_start: float, steps: int) -> Tensor:
    def rate(x: Tensor, t: float) -> Tensor:
        """dx/dt = dx/dsigma * dsigma/dt."""
        sigma = SIGMA_BEND * math.sinh(t)
        return (x - denoise(x, sigma)) * (SIGMA_BEND * math.cosh(t) / sigma)

    t_start, t_end = math.asinh(sigma_start / SIGMA_BEND), math.asinh(SIGMA_END / SIGMA_BEND)
    dt = (t_end - t_start) / steps
    for i in range(steps):
        t = t_start + i * dt
        k1 = rate(x, t)
        k2 = rate(x + dt / 2 * k1, t + dt / 2)
        k3 = rate(x + dt / 2 * k2, t + dt / 2)
        k4 = rate(x + dt * k3, t + dt)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return denoise(x, SIGMA_END)  # the Euler step to 0
