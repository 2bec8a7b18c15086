"""Norms and inner products of each sample of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, [B, ...] -> [B], accumulated in float32, or in float64 if x is float64."""
    accumulated = x.dtype if x.dtype.itemsize > 4 else torch.float32
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=accumulated)


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of each pair of samples, [B, ...] -> [B], accumulated in float32."""
    return (x.float() * y.float()).flatten(1).sum(dim=1)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...], to scale the samples of ``like``."""
    return values.view(-1, *(1,) * (like.ndim - 1))
