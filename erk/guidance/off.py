from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Evaluation
from .base import Correction, MadeStep, Run


@dataclass(frozen=True)
class Off:
    """No guidance: tells the stiffness (for a trace) and corrects nothing."""

    mode: ClassVar[str] = "off"

    def begin(self, run: Run) -> Off:
        return self

    def revise(self, evaluated: Evaluation, current: Evaluation) -> Evaluation:
        return current

    def correct(self, made: MadeStep) -> Correction:
        pair = made.pair()
        if pair is None:
            return Correction()
        stiffness = pair.difference().stiffness
        return Correction(stiffness=stiffness, h_stiffness=abs(pair.h) * stiffness)
