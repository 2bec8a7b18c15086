from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Denoise, Evaluation
from ..pair import EmbeddedPair
from .base import History, Solver, Step


@dataclass(frozen=True)
class DPMpp2S(Solver):
    """DPM-Solver++(2S) with r = 1/2: the midpoint rule on the data prediction. Order 2, two calls.

    Lu et al. 2022 (DPM-Solver++), Algorithm 1. The midpoint is taken in half-logSNR, which the noise
    process defines. If the data prediction D is constant, the exact solution is
    x_next = (sigma_next/sigma) x + (1 - sigma_next/sigma) D, both for alpha = 1 and for alpha = 1 - sigma.
    The pair is the step's start and its midpoint, as for DPM-Solver-2. (It is not in the paper.)
    """

    name: ClassVar[str] = "dpmpp_2s"
    title: ClassVar[str] = "DPM++ 2S"
    calls: ClassVar[int] = 2

    @property
    def order(self) -> int:
        return 2

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next == 0:
            return Step(current.euler(0.0))
        sigma_mid = self._midpoint(current.sigma, sigma_next)
        stage = denoise(current.euler(sigma_mid), sigma_mid)
        # sigma_next/sigma x + (1 - sigma_next/sigma) D. As a sum, large parts would cancel on an ascending step.
        denoised = stage.denoised
        return Step(denoised.lerp_(current.x.to(denoised.dtype), sigma_next / current.sigma), (stage,))

    def _midpoint(self, sigma: float, sigma_next: float) -> float:
        if self.process.is_flow and max(sigma, sigma_next) >= 1.0:
            # Half-logSNR is -inf at sigma = 1. ComfyUI's dpmpp_2s uses this midpoint there.
            return 0.9999
        half_log_snr = self.process.half_log_snr
        return self.process.sigma_at((half_log_snr(sigma) + half_log_snr(sigma_next)) / 2)

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        return EmbeddedPair.of_start_and_stage(current, step.stages, sigma_next)
