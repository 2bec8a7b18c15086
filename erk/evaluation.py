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
    d      drift dx/dsigma = (x - D(x, sigma)) / sigma, [B, ...]  (Karras et al. 2022, eq. 1 and 3)
    """

    x: Tensor
    sigma: float
    d: Tensor

    @classmethod
    def at(cls, x: Tensor, sigma: float, denoised: Tensor, dtype: torch.dtype | None = None) -> Evaluation:
        """From the model's output, with d in that dtype; None: in that of x."""
        dtype = dtype or x.dtype
        return cls(x, sigma, ((x.to(dtype) - denoised) / sigma).to(dtype))

    @property
    def denoised(self) -> Tensor:
        """D(x, sigma), [B, ...], recomputed: keeping it would cost one more latent of memory."""
        return add_scaled(self.x, self.d, -self.sigma)

    def drift_only(self) -> Evaluation:
        """Without the state, which is empty then: a latent less to keep where nobody will look at it."""
        return self._replace(x=self.x.new_empty(0))

    def euler(self, sigma_next: float) -> Tensor:
        """The first-order step to sigma_next, to the last bit as ComfyUI makes it."""
        return self.x + (sigma_next - self.sigma) * self.d


def add_scaled(x: Tensor, y: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """x + scale y, in ``out``'s memory where that is given.

    torch raises where its alpha lies beyond the dtype: float16 ends at 65,504, which the weights of very long steps
    exceed.
    """
    if abs(scale) > torch.finfo(torch.result_type(x, y)).max:
        return torch.add(x, scale * y, out=out)
    return torch.add(x, y, alpha=scale, out=out)


Denoise = Callable[[Tensor, float], Evaluation]
"""Evaluates the model at (x, sigma): one model call."""
