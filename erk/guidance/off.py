from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Evaluation
from .base import Correction, MadeStep, Run


@dataclass(frozen=True)
class Off:
    """No guidance: tells the stiffness (for a trace) and corrects nothing."""

    mode: ClassVar[str] = "off"
    pairs: ClassVar[bool] = True

    def begin(self, run: Run) -> Off:
        return self

    def judge(self, evaluated: Evaluation) -> None:
        """It claims nothing that could be judged."""

    def correct(self, made: MadeStep) -> Correction:
        if made.pair is None:
            return Correction()
        stiffness = made.pair.difference().stiffness
        return Correction(stiffness=stiffness, h_stiffness=abs(made.pair.h) * stiffness)
