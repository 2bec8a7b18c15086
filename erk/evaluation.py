"""What one model call tells: the drift at a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """A state and the ODE's drift there.

    x      state, [B, ...]
    sigma  noise level, a Python float
    d      drift dx/dsigma = (x - D(x, sigma)) / sigma, [B, ...]  (Karras et al. 2022, eq. 1 and 3); in the dtype of x,
           of float16 latents in float32: at sigma 1e-4 a state of 7 would have a drift beyond float16's end
    """

    x: Tensor
    sigma: float
    d: Tensor

    @classmethod
    def at(cls, x: Tensor, sigma: float, denoised: Tensor) -> Evaluation:
        """From the model's output."""
        if x.dtype is torch.float16:
            return cls(x, sigma, (x.float() - denoised) / sigma)
        return cls(x, sigma, ((x - denoised) / sigma).to(x.dtype))

    @property
    def denoised(self) -> Tensor:
        """D(x, sigma), [B, ...], recomputed: keeping it would cost one more latent of memory."""
        return self.x - self.sigma * self.d

    def euler(self, sigma_next: float) -> Tensor:
        """The first-order step to sigma_next."""
        return self.x + (sigma_next - self.sigma) * self.d


def narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A state in the latent's dtype. What lies beyond float16's end is brought back to it; what is not finite stays so.

    A corrected state may be somewhat larger than the plain solver's, and must not be lost where that is kept.
    """
    if dtype is torch.float16 and x.dtype is not dtype:
        end = torch.finfo(dtype).max
        x = x.clamp(-end, end).add_(x, alpha=0.0)  # infinity times 0 is NaN
    return x.to(dtype)


Denoise = Callable[[Tensor, float], Evaluation]
"""Evaluates the model at (x, sigma): one model call."""
