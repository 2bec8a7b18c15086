"""Measures noise in the places of a picture that show nothing else."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def local_mean(pictures: Tensor, side: int) -> Tensor:
    """The mean over side x side pixels, cut off at the border: [B, channels, h, w] -> the same shape."""
    return functional.avg_pool2d(pictures, side, stride=1, padding=side // 2, count_include_pad=False)


def departure(pictures: Tensor) -> Tensor:
    """The difference of each pixel from the 3 x 3 mean around it. This shows noise, and no halo or slope."""
    return pictures - local_mean(pictures, 3)


def grain(pictures: Tensor, where: Tensor) -> float:
    """The RMS departure in the places ``where``, bool [B, 1, h, w], that show nothing else."""
    return float(departure(pictures.double()).masked_select(where).square().mean().sqrt())
