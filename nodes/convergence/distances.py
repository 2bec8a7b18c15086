"""How far a latent is from another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FLAT = 1e-6
"""A latent without any spread is not divided by zero."""


def relative_errors(latent: Tensor, reference: Tensor) -> list[float]:
    """The root mean square distance of each sample to the reference's, over the standard deviation of that one.

    latent, reference  [B, ...] of one shape, or nested: then all parts count, number by number

    What is not finite is inf.
    """
    flat, aim = _flat(latent), _flat(reference)
    distance = (flat - aim).square().mean(dim=1).sqrt()
    scale = aim.std(dim=1, correction=0).clamp(min=_FLAT)
    return [value if math.isfinite(value) else math.inf for value in (distance / scale).tolist()]


def _flat(latent: Tensor) -> Tensor:
    parts = latent.unbind() if latent.is_nested else [latent]
    return torch.cat([part.float().flatten(1) for part in parts], dim=1)
