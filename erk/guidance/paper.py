from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..evaluation import Evaluation
from ..norms import inner, per_sample
from ..pair import FLOOR
from .base import Correction, MadeStep, RunFacts


@dataclass(frozen=True)
class Paper:
    """The paper's rule, section 3.3, in its "stabilised" form with z^2 for the theoretical factor.

        z = w_stiff * h * stiffness
        x_next += sign * h * [stiffness > w_con] * z^2 * <direction, d> * direction

    The step's embedded pair gives h, sign, direction = delta_d/|delta_d| and stiffness. d is the drift at
    the step's start. The last step, to sigma 0, is not corrected.

    w_stiff  strength, >= 0, no unit
    w_con    confidence threshold on the stiffness, >= 0, unit 1/sigma
    """

    mode: ClassVar[str] = "paper"
    corrects: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("w_stiff", "w_con")
    pairs: ClassVar[bool] = True
    w_stiff: float
    w_con: float

    @property
    def settings(self) -> Mapping[str, float]:
        return {"w_stiff": self.w_stiff, "w_con": self.w_con}

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Paper:
        w_stiff, w_con = paper_preset(steps)
        return cls(settings.get("w_stiff", w_stiff), settings.get("w_con", w_con))

    def begin(self, run: RunFacts) -> Paper:
        return self

    def judge(self, evaluated: Evaluation) -> None:
        """Do nothing, because there is no claim to judge."""

    def correct(self, made: MadeStep) -> Correction:
        pair, start = made.pair, made.start
        if pair is None:
            return Correction()
        difference = pair.difference()
        stiffness = difference.stiffness
        h_stiffness = abs(pair.h) * stiffness
        if made.sigma_next == 0:
            return Correction(stiffness=stiffness, h_stiffness=h_stiffness)
        z = self.w_stiff * h_stiffness
        # <direction, d> * direction is <delta_d, d> * delta_d over the squared norm, which saves one pass.
        along = inner(difference.delta_d, start.d) / (difference.delta_d_norm + FLOOR) ** 2
        scale = pair.sign * pair.h * z**2 * along
        # What the stock solver keeps finite must stay finite. So a correction outside the range of the latent's
        # dtype is not made, and neither is one that is NaN, because a comparison with NaN is false.
        bound = torch.finfo(start.x.dtype).max / 2
        active = (stiffness > self.w_con) & (scale.abs() * difference.delta_d_norm < bound)
        scale = torch.where(active, scale, 0.0)
        return Correction(
            value=difference.delta_d.mul_(per_sample(scale, difference.delta_d)),
            norm=scale.abs() * difference.delta_d_norm,
            active=active,
            stiffness=stiffness,
            h_stiffness=h_stiffness,
        )


_PRESETS = ((8, 0.5, 0.1), (16, 0.75, 0.3), (32, 2.0, 0.5))
"""(steps, w_stiff, w_con): the paper's best on EDM2, ImageNet-512, without other guidance."""


def paper_preset(steps: int) -> tuple[float, float]:
    """The paper's (w_stiff, w_con) for a number of steps.

    The paper gives values at 8, 16 and 32 steps. Between them they are linear in log2(steps), and constant outside.
    """
    if steps <= _PRESETS[0][0]:
        return _PRESETS[0][1:]
    for (low, *start), (high, *end) in itertools.pairwise(_PRESETS):
        if steps <= high:
            t = math.log2(steps / low) / math.log2(high / low)
            w_stiff, w_con = (a + t * (b - a) for a, b in zip(start, end, strict=True))
            return w_stiff, w_con
    return _PRESETS[-1][1:]
