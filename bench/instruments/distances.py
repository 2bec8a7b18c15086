"""How far the distribution of a set of samples is from that of a set of data."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of the Gaussians with the sets' means and covariances: [N, dim], [M, dim].

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)); Dowson & Landau 1982.
    """
    a, b = a.double(), b.double()
    half = _root(torch.cov(a.T))
    cross = torch.linalg.eigvalsh(half @ torch.cov(b.T) @ half).clamp_min(0).sqrt().sum()
    spread = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * cross
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 512, quantiles: int = 500) -> float:
    """Root mean square, over random directions, of the Wasserstein-2 distance of the projections: [N, dim], [M, dim].

    The directions are the same at every call.
    """
    a, b = a.double(), b.double()
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(
        torch.randn(a.shape[1], directions, generator=generator, dtype=torch.float64), dim=0
    )
    levels = (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
    difference = torch.quantile(a @ axes, levels, dim=0) - torch.quantile(b @ axes, levels, dim=0)
    return float(difference.square().mean().sqrt())
