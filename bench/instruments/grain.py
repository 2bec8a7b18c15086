"""Noise that is seen in places of a picture where there is nothing else."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def local_mean(pictures: Tensor, side: int) -> Tensor:
    """Over side x side pixels, cut off at the border: [B, channels, h, w] -> the same."""
    return functional.avg_pool2d(pictures, side, stride=1, padding=side // 2, count_include_pad=False)


def departure(pictures: Tensor) -> Tensor:
    """Of each pixel from the mean of 3 x 3 about it: noise, and not the halo of a galaxy or a slope."""
    return pictures - local_mean(pictures, 3)


def grain(pictures: Tensor, where: Tensor) -> float:
    """RMS departure where there is nothing else to see, bool [B, 1, h, w]."""
    return float(departure(pictures.double()).masked_select(where).square().mean().sqrt())
