"""A distribution as a sampling problem whose denoiser is known exactly, with CFG and rounding.

The posterior mean

    D(x, sigma) = E[data | alpha * data + sigma * noise = x]

is a closed formula of the distribution. On sigma-space models alpha = 1, on flow models alpha = 1 - sigma.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from .distributions import Distribution


@dataclass(frozen=True)
class Problem:
    """A distribution as a sampling problem.

    name          the name in the results
    shape         shape of one latent, such as (1, 8, 8)
    distribution  the distribution that is sampled
    note          a description
    groups        the groups it belongs to: "gaussian", "plane", "mixture", "image", "cfg", "flat" (exactly uniform
                  areas), "edges", "manifold", "rounded", "exact". The last is not a measurement. It only checks what is
                  exact there: the plain step or the calibrated rule
    cfg           guidance scale; 1 means none. Above 1, sample i asks for class i modulo the number of classes
    samples       how many initial noises the benchmark uses
    negative      with CFG, the negative is each sample's next class and not the unconditional
    interval      with CFG, the levels of sigma / alpha between which it acts; elsewhere only the sample's class is used
    min_steps     the reference's minimum number of steps; data without a width needs many, see
                  :func:`bench.instruments.reference.converge`
    rounded       whether the model's output, (x - D) / sigma in every kind of model, is rounded to bfloat16 for
                  samplers; the reference is never rounded
    """

    name: str
    shape: tuple[int, ...]
    distribution: Distribution
    note: str
    groups: tuple[str, ...]
    cfg: float = 1.0
    samples: int = 32
    negative: bool = False
    interval: tuple[float, float] | None = None
    rounded: bool = False
    min_steps: int = 200

    def condition(self, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Class weights of the samples, [B, classes]: one class each with CFG, otherwise unconditional."""
        classes = self.distribution.classes
        if self.cfg == 1.0:
            return torch.zeros(batch, classes, dtype=dtype)
        return torch.nn.functional.one_hot(torch.arange(batch) % classes, classes).to(dtype)

    def negative_condition(self, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Class weights of the negative prompt, [B, classes]: none, or the next class."""
        wanted = self.condition(batch, dtype)
        return wanted.roll(1, dims=1) if self.negative else torch.zeros_like(wanted)

    def guided(self, sigma: float, flow: bool) -> bool:
        """Whether CFG acts at a level."""
        if self.cfg == 1.0 or self.interval is None:
            return self.cfg != 1.0
        low, high = self.interval
        alpha = 1 - sigma if flow else 1.0
        return low * alpha <= sigma <= high * alpha

    def breaks(self, flow: bool) -> tuple[float, ...]:
        """The levels where CFG starts and ends. The ODE has a jump there."""
        return tuple(level / (1 + level) if flow else level for level in self.interval or ())

    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None) -> Tensor:
        """The model's prediction for the given class weights: [B, *shape] -> [B, *shape].

        sigma  a number or [B]
        """
        exact = self._posterior_mean(x, sigma, flow, condition)
        if not self.rounded:
            return exact
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).view(-1, *(1,) * (x.ndim - 1))
        return x - sigma * ((x - exact) / sigma).bfloat16().to(x.dtype)

    def denoise(self, x: Tensor, sigma: Tensor | float, flow: bool = False) -> Tensor:
        """The guided output D_n + cfg (D_c - D_n), which defines a sampler's ODE. It is never rounded.

        sigma  one level for all samples
        """
        batch, dtype = len(x), x.dtype
        wanted = None if self.cfg == 1.0 else self.condition(batch, dtype)
        conditional = self._posterior_mean(x, sigma, flow, wanted)
        if not self.guided(float(torch.as_tensor(sigma).max()), flow):
            return conditional
        negative = self._posterior_mean(x, sigma, flow, self.negative_condition(batch, dtype))
        return negative + self.cfg * (conditional - negative)

    def _posterior_mean(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, 1)
        alpha = 1 - sigma if flow else torch.ones_like(sigma)
        return self.distribution.posterior_mean(x.flatten(1), alpha, sigma, condition).view(x.shape)

    def noise(self, batch: int | None = None) -> Tensor:
        """The initial noise, [B, *shape] float32. It is the same at every call."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        return torch.randn((batch or self.samples, *self.shape), generator=generator)
