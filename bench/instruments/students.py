"""Step-distilled students of exact problems: the result of a perfect distillation.

Distilled models (Salimans & Ho 2022; Song et al. 2023) no longer predict the posterior mean. Their output is chosen so
that a few Euler steps end where the teacher's ODE ends. A solver of higher order, or a correction that models the
denoiser, misinterprets that output. Here the teacher is a problem of bench/instruments/problems.py. The student's
output is computed by solving the teacher's ODE with fine steps at every call.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .problem import Problem
from .reference import SIGMA_END, advance, log_like, solve

DENSITY = 10.0
"""Runge-Kutta steps per unit of the variable in bench/instruments/reference.py, which is an e-fold of sigma.

Their error is far below any that is measured.
"""


class _Student:
    """A teacher's ODE in the form that ComfyUI samples: see :class:`bench.instruments.comfy_model.Predictor`.

    The teacher's guidance is distilled into the student, so the student is sampled without guidance.
    """

    cfg = 1.0

    def __init__(self, teacher: Problem, flow: bool) -> None:
        self.teacher, self.flow = teacher, flow

    def condition(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)

    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None = None) -> Tensor:
        """[B, ...] -> [B, ...] of the same dtype.

        Raises ValueError for samples at different levels, or for another kind of model.
        """
        levels = torch.as_tensor(sigma).flatten()
        if flow != self.flow or not bool((levels == levels[0]).all()):
            raise ValueError("A student is of one kind of model, and its samples are all at one level.")
        return self.output(x.double(), float(levels[0])).to(x.dtype)

    def output(self, x: Tensor, sigma: float) -> Tensor:
        raise NotImplementedError

    def follow(self, x: Tensor, start: float, end: float) -> Tensor:
        """The teacher's ODE from start to end, 0 included."""
        steps = max(4, math.ceil(DENSITY * (log_like(start) - log_like(max(end, SIGMA_END)))))
        return advance(self._teach, x, start, end, steps) if end > 0 else solve(self._teach, x, start, steps)

    def _teach(self, x: Tensor, sigma: float) -> Tensor:
        return self.teacher.denoise(x, sigma, self.flow)


class EulerStudent(_Student):
    """A student for which an Euler step between its levels ends where the teacher's ODE ends.

    levels  [n + 1] falling, the last 0; between two of them, the output is that of the upper one, constant in sigma
    """

    def __init__(self, teacher: Problem, flow: bool, levels: Tensor) -> None:
        super().__init__(teacher, flow)
        self.levels = levels.double().tolist()
        if self.levels[-1] != 0 or any(
            upper <= lower for upper, lower in zip(self.levels, self.levels[1:], strict=False)
        ):
            raise ValueError(f"A student's levels fall to 0; these are {self.levels}.")

    def output(self, x: Tensor, sigma: float) -> Tensor:
        # The levels have been in float32, and may differ by its rounding.
        i = max((i for i, level in enumerate(self.levels[:-1]) if level >= sigma * (1 - 1e-5)), default=0)
        upper, lower = self.levels[i : i + 2]
        # x_lower = D + lower/upper (x - D), solved for D.
        return (upper * self.follow(x, upper, lower) - lower * x) / (upper - lower)


class ConsistencyStudent(_Student):
    """A student whose output is the end point of the teacher's ODE from x."""

    def output(self, x: Tensor, sigma: float) -> Tensor:
        return self.follow(x, sigma, 0.0) if sigma > SIGMA_END else self._teach(x, sigma)
