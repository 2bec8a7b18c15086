"""Solvers that step below the next level and add new noise to reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import NoiseStep, Solver
from .dpmpp_2s import DPMpp2S
from .euler import Euler


@dataclass(frozen=True)
class Ancestral(Solver):
    """Ancestral sampling: the solver's own step leads to a lower level, and noise makes up for the difference.

    In sigma-space as Karras et al. 2022 split the posterior of DDPM (Ho et al. 2020), on flow models as ComfyUI's
    "RF" samplers do, which hold alpha on its path too. Worked out in float32 in ComfyUI's order, so that mode off is
    its sampler to rounding.

    eta          0: none, the plain solver; 1: all that is lost between the two levels
    s_noise      factor on the noise
    noise_scale  deviation of the model's noise on flow models that scale it
    """

    draws_at_zero: ClassVar[bool] = True
    eta: float = 1.0
    s_noise: float = 1.0
    noise_scale: float = 1.0

    @property
    def adds_noise(self) -> bool:
        return self.eta > 0

    @property
    def amplitude(self) -> float:
        return self.s_noise * self.noise_scale

    def noise_steps(self, schedule: Sequence[float]) -> list[NoiseStep] | None:
        if not self.adds_noise or len(schedule) < 2:
            return None
        levels = torch.tensor(schedule, dtype=torch.float32, device="cpu")
        sigma, sigma_next = levels[:-1], levels[1:]
        if bool((sigma_next > sigma).any()):
            raise ValueError(
                f"ERK-Guid: eta is {self.eta}, but the noise levels rise, and new noise cannot be taken away again: "
                f"set eta to 0, or unsample with a solver that adds no noise."
            )
        down, scale, std = (
            self._flow(sigma, sigma_next) if self.process.is_flow else self._sigma_space(sigma, sigma_next)
        )
        steps = zip(sigma_next.tolist(), down.tolist(), scale.tolist(), std.tolist(), strict=True)
        return [
            NoiseStep(low, factor, added, draws=level > 0 and (low > 0 or self.draws_at_zero))
            if level > 0
            else NoiseStep(0.0, 1.0, 0.0, draws=False)
            for level, low, factor, added in steps
        ]

    def _sigma_space(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lost = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
        up = torch.minimum(sigma_next, self.eta * lost)
        return (sigma_next**2 - up**2) ** 0.5, torch.ones_like(up), up

    def _flow(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> tuple[torch.Tensor, ...]:
        down = sigma_next * (1 + (sigma_next / sigma - 1) * self.eta)
        if bool((down < 0).any()):
            most = float((sigma / (sigma - sigma_next))[sigma_next > 0].min())
            raise ValueError(
                f"ERK-Guid: eta is {self.eta}, but on this schedule of a flow model it must be at most {most:.3g}, or "
                f"a step would end below sigma 0: lower it, or use more steps."
            )
        alpha, alpha_down = 1 - sigma_next, 1 - down
        return down, alpha / alpha_down, (sigma_next**2 - down**2 * alpha**2 / alpha_down**2) ** 0.5


@dataclass(frozen=True)
class EulerAncestral(Ancestral, Euler):
    """Euler's method with new noise at each step, one model call. ComfyUI's ``euler_ancestral``."""

    name: ClassVar[str] = "euler_ancestral"
    title: ClassVar[str] = "Euler ancestral"
    # Where a large eta leads all the way down, ComfyUI's takes D as it is.
    draws_at_zero: ClassVar[bool] = False


@dataclass(frozen=True)
class DPMpp2SAncestral(Ancestral, DPMpp2S):
    """DPM-Solver++(2S) with new noise at each step, two model calls. ComfyUI's ``dpmpp_2s_ancestral``."""

    name: ClassVar[str] = "dpmpp_2s_ancestral"
    title: ClassVar[str] = "DPM++ 2S ancestral"
