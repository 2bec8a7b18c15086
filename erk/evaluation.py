"""What one model call tells: the drift at a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Evaluation(NamedTuple):
    """A state and the ODE's drift there.

    x      state, [B, ...]
    sigma  noise level, a Python float
    d      drift dx/dsigma = (x - D(x, sigma)) / sigma, [B, ...]  (Karras et al. 2022, eq. 1 and 3)
    """

    x: Tensor
    sigma: float
    d: Tensor

    @classmethod
    def at(cls, x: Tensor, sigma: float, denoised: Tensor) -> Evaluation:
        """From the model's output; half-precision latents stay half precision."""
        return cls(x, sigma, ((x - denoised) / sigma).to(x.dtype))

    @property
    def denoised(self) -> Tensor:
        """D(x, sigma), [B, ...], recomputed: keeping it would cost one more latent of memory."""
        return self.x - self.sigma * self.d

    def euler(self, sigma_next: float) -> Tensor:
        """The first-order step to sigma_next."""
        return self.x + (sigma_next - self.sigma) * self.d


Denoise = Callable[[Tensor, float], Evaluation]
"""Evaluates the model at (x, sigma): one model call."""
