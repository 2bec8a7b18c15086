"""The limits of half precision: which dtypes a run uses.

A corrected state may be larger than the plain solver's. At sigma 1e-4, a state of 7 has a drift outside float16's
range. What the plain solver keeps finite must not be lost by a correction. So if the latent is float16, a run that
corrects keeps its drifts in float32 and clamps its states to float16's range.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluation import Evaluation

ROUNDING = 2.0**-23
"""float32's: two numbers as near as that may have been the same."""


@dataclass(frozen=True)
class Precision:
    """The dtypes of a run.

    latent    dtype of the states that the model receives
    corrects  whether states may be corrected
    """

    latent: torch.dtype
    corrects: bool

    @property
    def drift(self) -> torch.dtype:
        return torch.float32 if self.corrects and self.latent is torch.float16 else self.latent

    def state(self, x: Tensor) -> Tensor:
        """The state in the latent's dtype. Values that a correction has pushed out of float16's range are clamped."""
        return narrowed(x, self.latent) if self.corrects else x.to(self.latent)

    def evaluation(self, x: Tensor, sigma: float, denoised: Tensor) -> Evaluation:
        """The evaluation built from the model's output."""
        return Evaluation.at(x, sigma, denoised, self.drift)


def narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A state in this dtype. Values outside float16's range are clamped to it; infinity and NaN stay non-finite."""
    if dtype is torch.float16 and x.dtype is not dtype:
        end = torch.finfo(dtype).max
        x = x.clamp(-end, end).add_(x, alpha=0.0)  # infinity times 0 is NaN
    return x.to(dtype)


def corrected(x: Tensor, correction: Tensor) -> Tensor:
    """x plus a correction. It reuses the correction's memory if that has at least x's precision."""
    return correction.add_(x) if correction.dtype.itemsize >= x.dtype.itemsize else x + correction
