"""Half precision's ends: which numbers a run works in.

A corrected state may be larger than the plain solver's, and at sigma 1e-4 one of 7 has a drift beyond float16's end:
what the plain solver keeps finite must not be lost by a correction. So a run that corrects has its drifts in float32
where the latent is float16, and brings its states back to what float16 holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluation import Evaluation


@dataclass(frozen=True)
class Precision:
    """Of the latent, and of what is worked out from it.

    latent    dtype of the states that the model is given
    corrects  whether states may be corrected
    """

    latent: torch.dtype
    corrects: bool

    @property
    def drift(self) -> torch.dtype:
        return torch.float32 if self.corrects and self.latent is torch.float16 else self.latent

    def state(self, x: Tensor) -> Tensor:
        """The state in the latent's dtype. What a correction leads beyond float16's end is brought back to it."""
        return narrowed(x, self.latent) if self.corrects else x.to(self.latent)

    def evaluation(self, x: Tensor, sigma: float, denoised: Tensor) -> Evaluation:
        """From the model's output."""
        return Evaluation.at(x, sigma, denoised, self.drift)


def narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A state in that dtype. What lies beyond float16's end is brought back to it; what is not finite stays so."""
    if dtype is torch.float16 and x.dtype is not dtype:
        end = torch.finfo(dtype).max
        x = x.clamp(-end, end).add_(x, alpha=0.0)  # infinity times 0 is NaN
    return x.to(dtype)


def corrected(x: Tensor, correction: Tensor) -> Tensor:
    """x plus a correction, in the correction's memory where that has x's precision."""
    has_precision = torch.promote_types(x.dtype, correction.dtype) is correction.dtype
    return correction.add_(x) if has_precision else x + correction
