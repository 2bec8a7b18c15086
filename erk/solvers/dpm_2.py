from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Denoise, Evaluation, add_scaled
from ..pair import EmbeddedPair
from .base import History, Solver, Step


@dataclass(frozen=True)
class DPM2(Solver):
    """DPM-Solver-2 with r = 1/2: the midpoint rule with the midpoint in log sigma. Order 2, two calls.

    Lu et al. 2022 (DPM-Solver), Algorithm 1. The midpoint is sqrt(sigma sigma_next) on every kind of
    model, as in ComfyUI's ``dpm_2``. The pair is the step's start and its midpoint.
    """

    name: ClassVar[str] = "dpm_2"
    title: ClassVar[str] = "DPM-Solver-2"
    calls: ClassVar[int] = 2

    @property
    def order(self) -> int:
        return 2

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next == 0:
            return Step(current.euler(0.0))
        sigma_mid = math.sqrt(current.sigma * sigma_next)
        stage = denoise(current.euler(sigma_mid), sigma_mid)
        return Step(add_scaled(current.x, stage.d, sigma_next - current.sigma), (stage,))

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        return EmbeddedPair.of_start_and_stage(current, step.stages, sigma_next)
