from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Correction, MadeStep


@dataclass(frozen=True)
class Off:
    """No guidance: tells the stiffness (for a trace) and corrects nothing."""

    mode: ClassVar[str] = "off"

    def correct(self, made: MadeStep) -> Correction:
        pair = made.pair()
        if pair is None:
            return Correction()
        stiffness = pair.difference().stiffness
        return Correction(stiffness=stiffness, h_stiffness=abs(pair.h) * stiffness)
