from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Denoise, Evaluation
from ..pair import EmbeddedPair
from .base import History, Solver, Step


@dataclass(frozen=True)
class Heun(Solver):
    """Heun's method: Euler predictor, trapezoidal corrector. Order 2, two model calls.

    Karras et al. 2022, Algorithm 1. Both states of the pair are at the same noise level: the accepted
    state, and the previous step's Euler predictor, which was that step's second stage. So the difference
    of the drifts is a Jacobian-vector product to first order.
    """

    name: ClassVar[str] = "heun"
    title: ClassVar[str] = "Heun"
    calls: ClassVar[int] = 2
    pair_looks_back: ClassVar[bool] = True

    @property
    def order(self) -> int:
        return 2

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        predicted = current.euler(sigma_next)
        if sigma_next == 0:
            return Step(predicted)
        stage = denoise(predicted, sigma_next)
        # dt (d + d_stage)/2, in ComfyUI's order of operations, so that mode off equals it to the last bit.
        slope = (current.d + stage.d).div_(2).mul_(sigma_next - current.sigma)
        return Step(current.x + slope, (stage,))

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        if not history:
            return None
        return EmbeddedPair(a=current, b=history[0], h=current.sigma - sigma_next, sign=-1.0)
