"""The local model: what a solver's own step gets wrong on Gaussian data, as a function of u.

Item 3 of the package's text.

The correction depends on the sample only through u. So the solver is run once on a grid of scalar problems, instead of
on every band. It runs on the host, where float64 keeps enough digits in the difference of two nearly equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...evaluation import Evaluation
from ...noise_process import NoiseProcess
from ...solvers import Solver
from .quotient import Quotients
from .spread import logits, plane

NOISE_FRACTION_MIN = 1e-3
"""Smallest u that tables tell apart. Below it, eps hardly depends on S."""

TABLE = 1024
"""Grid intervals of a table over 1 - u."""

PLANES = 256
"""How many claims are kept, for the steps of several schedules."""


class ScalarProblems:
    """The local model for a grid of (1 - u)/u = S^2/s^2 at the noise level sigma."""

    def __init__(self, process: NoiseProcess, sigma: float, signal_to_noise: Tensor) -> None:
        self._process = process
        # one sample: what a solver bounds sample by sample is bounded by the whole, as on a latent
        self._variance = (sigma / process.alpha(sigma)) ** 2 * signal_to_noise[None]  # S^2

    @classmethod
    def of_logits(cls, process: NoiseProcess, sigma: float) -> ScalarProblems:
        """For the u that a plane of claims is made from. A smaller u counts as NOISE_FRACTION_MIN."""
        return cls(process, sigma, torch.exp(-logits()).clamp(max=1 / NOISE_FRACTION_MIN - 1))

    def std(self, sigma: float) -> Tensor:
        """The exact solution sqrt(alpha^2 S^2 + sigma^2)."""
        return (self._process.alpha(sigma) ** 2 * self._variance + sigma**2).sqrt()

    def evaluate(self, y: Tensor, sigma: float) -> Evaluation:
        # d = y std'/std, written so that nothing cancels. alpha' is -1 on flow models, otherwise 0.
        slope = self._process.alpha(sigma) * (-1.0 if self._process.is_flow else 0.0)
        return Evaluation(y, sigma, y * ((slope * self._variance + sigma) / self.std(sigma) ** 2))

    def exact(self, sigma: float) -> Evaluation:
        return self.evaluate(self.std(sigma), sigma)

    def denoised(self, sigma: float) -> Tensor:
        """D on the exact solution: alpha S^2/std."""
        return self._process.alpha(sigma) * self._variance / self.std(sigma)

    def over_noise(self, difference: Tensor, sigma: float) -> Tensor:
        """The difference divided by the noise estimate eps = sigma/std of the exact solution at sigma, [u]."""
        return (difference * self.std(sigma) / sigma)[0]


@lru_cache(maxsize=PLANES)
def missed_by_step(
    solver: Solver,
    process: NoiseProcess,
    sigma: float,
    sigma_next: float,
    levels: tuple[float, ...],
    quotients: Quotients,
) -> Tensor:
    """The claim about a step whose history is exact evaluations at ``levels``, as a :func:`.spread.plane`."""
    problems = ScalarProblems.of_logits(process, quotients.sigma)
    history: Sequence[Evaluation] = [problems.exact(level) for level in levels]
    reached = solver.step(problems.evaluate, problems.exact(sigma), sigma_next, history).x_next
    missed = problems.over_noise(problems.std(sigma_next) - reached, sigma)
    return plane(missed, quotients, abs(sigma_next - sigma))


@lru_cache(maxsize=PLANES)
def change_of_denoised(process: NoiseProcess, sigma: float, sigma_next: float, quotients: Quotients) -> Tensor:
    """D(sigma_next) - D(sigma) on the exact solution from sigma, as a :func:`.spread.plane`."""
    problems = ScalarProblems.of_logits(process, quotients.sigma)
    change = problems.over_noise(problems.denoised(sigma_next) - problems.denoised(sigma), sigma)
    return plane(change, quotients, math.inf)


@lru_cache(maxsize=1024)
def missed_variance(solver: Solver, process: NoiseProcess, sigma: float, sigma_down: float) -> Tensor:
    """The variance that a step to sigma_down misses, divided by the variance of the noise at sigma.

    Both are of x/alpha. A table over 1 - u from 0 to 1, at the positions TABLE (1 - u).
    """
    problems = ScalarProblems(process, sigma, _signal_to_noise())
    reached = solver.step(problems.evaluate, problems.exact(sigma), sigma_down, ()).x_next
    missed = (problems.std(sigma_down) ** 2 - reached**2) / process.alpha(sigma_down) ** 2
    return tabulated(missed * (process.alpha(sigma) / sigma) ** 2)


@lru_cache(maxsize=1024)
def missed_over_change(solver: Solver, process: NoiseProcess, sigma: float, sigma_down: float) -> Tensor:
    """What a step to sigma_down misses, divided by the change of D from its start to its first stage.

    It is of x/alpha, and limited to 0 to 1. A table as that of :func:`missed_variance`.
    """
    problems = ScalarProblems(process, sigma, _signal_to_noise())
    start = problems.exact(sigma)
    step = solver.step(problems.evaluate, start, sigma_down, ())
    missed = (problems.std(sigma_down) - step.x_next) / process.alpha(sigma_down)
    return tabulated((missed / (step.stages[0].denoised - start.denoised)).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1))


def _signal_to_noise() -> Tensor:
    """(1 - u)/u over 1 - u from 0 to 1. A smaller u counts as NOISE_FRACTION_MIN."""
    signal = torch.linspace(0, 1, TABLE + 1, dtype=torch.float64, device="cpu")
    return 1 / (1 - signal).clamp(min=NOISE_FRACTION_MIN) - 1


def tabulated(values: Tensor) -> Tensor:
    """[1, TABLE + 1] -> what :func:`interpolate` looks up, float32: the last value is there twice."""
    return torch.cat([values[0], values[0, -1:]]).float()


def interpolate(table: Tensor, positions: Tensor) -> Tensor:
    """A tabulated function at positions from 0 to TABLE. Linear interpolation; NaN counts as 0."""
    # (1 - t) table[left] + t table[left + 1], where position = left + t
    position = positions.flatten().nan_to_num(0.0)
    left = position.int()
    value, right = table.index_select(0, left), table[1:].index_select(0, left)
    return value.lerp_(right, position.sub_(left)).view(positions.shape)
