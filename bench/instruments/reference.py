"""The converged end point of a problem's ODE, and how far it is from convergence.

dx/dsigma = (x - D(x, sigma)) / sigma is the sampling ODE of both sigma-space and flow models. It is solved
by the classical Runge-Kutta method of order 4 in float64, in the variable t = asinh(sigma / c). Steps are
even in log sigma above c and even in sigma below it. The schedule does not stop at the model's smallest
noise level. It continues to 2e-5, where the distance to sigma = 0 no longer matters. A reference that ends
with one Euler step from sigma_min would have exactly the error that a sampler's last step is about.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA_END = 2e-5
SIGMA_BEND = 3e-3
"""The level where the steps change from even in log sigma to even in sigma. It is far below the width of any data."""

Denoise = Callable[[Tensor, float], Tensor]
"""(x [B, ...] float64, sigma) -> denoised [B, ...]"""


@dataclass(frozen=True)
class Reference:
    """The end point of the ODE.

    samples  [B, ...] float64
    error    [B] estimate of the RMS error of each sample, from the run with half as many steps
    steps    Runge-Kutta steps used
    """

    samples: Tensor
    error: Tensor
    steps: int

    def distance(self, samples: Tensor) -> Tensor:
        """RMS error of each of the first samples, [B, ...] -> [B]; infinite where it is not finite."""
        return rms(samples.double() - self.samples[: len(samples)]).nan_to_num(math.inf, math.inf)


def converge(
    denoise: Denoise,
    start: Tensor,
    sigma_start: float,
    tolerance: float = 1e-6,
    max_steps: int = 3200,
    breaks: Sequence[float] = (),
    min_steps: int = 200,
    steps: int = 100,
) -> Reference:
    """Double ``steps`` until the mean error estimate is below ``tolerance``, or ``max_steps`` is reached.

    start      [B, ...] the state at sigma_start, in any dtype
    breaks     levels at which the denoiser has a jump; steps end there, and ``denoise`` is called on both sides
    min_steps  minimum number of steps, for data without a width. There every run ends exactly on some data point, so
               two runs that agree on a wrong point show no error. Finer steps must rule that out
    """
    start = start.double()
    coarse = solve(denoise, start, sigma_start, steps, breaks)
    while True:
        steps *= 2
        fine = solve(denoise, start, sigma_start, steps, breaks)
        # An error of order 4 falls to a sixteenth, so the difference is 15 times the remaining error.
        error = rms(fine - coarse) / 15
        if (float(error.mean()) < tolerance and steps >= min_steps) or 2 * steps > max(max_steps, min_steps):
            return Reference(fine, error, steps)
        coarse = fine


def rms(difference: Tensor) -> Tensor:
    """Root mean square over all but the first dimension, [B, ...] -> [B] float64."""
    return difference.double().flatten(1).square().mean(1).sqrt()


@torch.no_grad()
def solve(denoise: Denoise, x: Tensor, sigma_start: float, steps: int, breaks: Sequence[float] = ()) -> Tensor:
    """The end point from x at sigma_start, by a number of Runge-Kutta steps.

    Steps end at the levels where the denoiser jumps.
    """
    levels = [sigma_start, *sorted((b for b in breaks if SIGMA_END < b < sigma_start), reverse=True), SIGMA_END]
    length = log_like(sigma_start) - log_like(SIGMA_END)
    for high, low in itertools.pairwise(levels):
        share = (log_like(high) - log_like(low)) / length
        x = advance(denoise, x, high, low, max(1, round(share * steps)), within=len(levels) > 2)
    return denoise(x, SIGMA_END)  # the Euler step to 0


@torch.no_grad()
def advance(
    denoise: Denoise, x: Tensor, sigma_start: float, sigma_end: float, steps: int, within: bool = False
) -> Tensor:
    """The state at sigma_end > 0, from the one at sigma_start. ``within``: call the denoiser only between the two."""

    def rate(x: Tensor, t: float) -> Tensor:
        """dx/dt = dx/dsigma * dsigma/dt."""
        sigma = SIGMA_BEND * math.sinh(t)
        asked = min(max(sigma, sigma_end * (1 + 1e-12)), sigma_start * (1 - 1e-12)) if within else sigma
        return (x - denoise(x, asked)) * (SIGMA_BEND * math.cosh(t) / sigma)

    t_start, t_end = log_like(sigma_start), log_like(sigma_end)
    dt = (t_end - t_start) / steps
    for i in range(steps):
        t = t_start + i * dt
        k1 = rate(x, t)
        k2 = rate(x + dt / 2 * k1, t + dt / 2)
        k3 = rate(x + dt / 2 * k2, t + dt / 2)
        k4 = rate(x + dt * k3, t + dt)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def log_like(sigma: float) -> float:
    """The variable t in which steps are even."""
    return math.asinh(sigma / SIGMA_BEND)
