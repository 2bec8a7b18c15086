"""What one model call reveals: the drift at a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """A state and the ODE's drift there.

    x            state, [B, ...]
    sigma        noise level, a Python float
    d            drift dx/dsigma = (x - D(x, sigma)) / sigma, [B, ...]  (Karras et al. 2022, eq. 1 and 3)
    course       what the solver has noted here, a tuple; None: nothing
    """

    x: Tensor
    sigma: float
    d: Tensor
    course: Any = None

    @classmethod
    def at(cls, x: Tensor, sigma: float, denoised: Tensor, dtype: torch.dtype | None = None) -> Evaluation:
        """Build one from the model's output. d has the given dtype, or that of x if it is None."""
        dtype = dtype or x.dtype
        return cls(x, sigma, ((x.to(dtype) - denoised) / sigma).to(dtype))

    @property
    def denoised(self) -> Tensor:
        """D(x, sigma), [B, ...]. It is recomputed, because keeping it would cost the memory of one more latent."""
        return add_scaled(self.x, self.d, -self.sigma)

    def drift_only(self) -> Evaluation:
        """The evaluation with an empty state. This saves one latent of memory when the state is not needed again."""
        return self._replace(x=self.x.new_empty(0))

    def euler(self, sigma_next: float) -> Tensor:
        """The first-order step to sigma_next, equal to ComfyUI's to the last bit."""
        return self.x + (sigma_next - self.sigma) * self.d


def add_scaled(x: Tensor, y: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """x + scale y, written to ``out`` if it is given.

    torch raises an error if its alpha is outside the dtype's range. float16 ends at 65,504, and the weights of very
    long steps exceed that.
    """
    if abs(scale) > torch.finfo(torch.result_type(x, y)).max:
        return torch.add(x, scale * y, out=out)
    return torch.add(x, y, alpha=scale, out=out)


Denoise = Callable[[Tensor, float], Evaluation]
"""Evaluates the model at (x, sigma). This is one model call."""
