from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Denoise, Evaluation
from ..pair import EmbeddedPair
from .base import History, Solver, Step


@dataclass(frozen=True)
class Euler(Solver):
    """Euler's method, one model call. Order 1.

    Karras et al. 2022, Algorithm 1 without its second-order correction. Step-distilled models are trained for it. It is
    not in the rule's paper. The pair is this step's start and the previous one's, as for DEIS.
    """

    name: ClassVar[str] = "euler"
    title: ClassVar[str] = "Euler"
    calls: ClassVar[int] = 1
    pair_looks_back: ClassVar[bool] = True

    @property
    def order(self) -> int:
        return 1

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        return Step(current.euler(sigma_next))

    def kept(self, past: Evaluation, age: int) -> Evaluation:
        return past.drift_only()

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        return EmbeddedPair.of_last_two(current, history)
