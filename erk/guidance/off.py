from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..evaluation import Evaluation
from .base import Correction, MadeStep, RunFacts


@dataclass(frozen=True)
class Off:
    """No guidance. It measures the stiffness for a trace and corrects nothing."""

    mode: ClassVar[str] = "off"
    corrects: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    pairs: ClassVar[bool] = True
    knows_noise: ClassVar[bool] = True

    @property
    def settings(self) -> Mapping[str, float]:
        return {}

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Off:
        return cls()

    def begin(self, run: RunFacts) -> Off:
        return self

    def judge(self, evaluated: Evaluation) -> None:
        """Do nothing, because there is no claim to judge."""

    def correct(self, made: MadeStep) -> Correction:
        if made.pair is None:
            return Correction()
        stiffness = made.pair.difference().stiffness
        return Correction(stiffness=stiffness, h_stiffness=abs(made.pair.h) * stiffness)
