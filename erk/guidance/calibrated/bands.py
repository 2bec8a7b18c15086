"""Which coefficients of a transformed latent form a band, and how they are arranged in memory.

Natural images have a different variance at each spatial frequency. So a Gaussian model per frequency is
the closest to the data. A band is a half octave of the radial frequency.

Coefficients are stored band by band, and each band is padded with zeros to whole blocks. So a band's sum is a sum over
blocks, and a band's value reaches its coefficients by broadcasting. Both are deterministic on every device. Neither
needs a tensor as large as a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WIDEST_BLOCK = 64
"""Largest number of coefficients in a block. With this many, a sum over blocks is as fast as one over everything."""

_FILLING = 0.125
"""Largest share that padding may add. If it would add more, blocks are made narrower."""


class Layout:
    """How coefficients are ordered by band.

    sizes          how many coefficients each band has, [bands]
    order          which coefficient is stored at each place, [blocks * width]; arbitrary where a place is padding
    filling        the places that are padding
    back           the place at which each coefficient is stored, [positions]
    band_of_block  the band of each block, [blocks]
    width          number of coefficients in a block
    """

    def __init__(self, band: Tensor) -> None:
        self.sizes = torch.bincount(band)
        width = _WIDEST_BLOCK
        while width > 1 and self._blocks(width).sum() * width > (1 + _FILLING) * len(band):
            width //= 2
        self.width, blocks = width, self._blocks(width)
        self.band_of_block = torch.repeat_interleave(torch.arange(len(blocks), device=band.device), blocks)
        # How far the padding before each band shifts its beginning.
        begin = (blocks.cumsum(0) - blocks) * width - (self.sizes.cumsum(0) - self.sizes)
        by_band = torch.argsort(band, stable=True)
        places = torch.arange(len(band), device=band.device) + begin[band[by_band]]
        order = torch.full((int(blocks.sum()) * width,), -1, device=band.device)
        order[places] = by_band
        self.filling = (order < 0).nonzero().flatten()
        self.order = order.clamp(min=0).int()
        self.back = torch.empty_like(by_band).index_copy_(0, by_band, places).int()

    def _blocks(self, width: int) -> Tensor:
        return torch.div(self.sizes + width - 1, width, rounding_mode="floor")


def half_octaves(shape: torch.Size, transformed: set[int]) -> Tensor:
    """Band of each position, [positions], counted from 0: the mean, then half octaves of the radial frequency.

    It is on the host, whatever device new tensors go to by default.
    """
    longest = max(shape[axis] for axis in transformed)
    square = torch.zeros(shape, device="cpu")
    for axis in transformed:
        view = [1] * len(shape)
        view[axis] = -1
        # Frequencies are in cycles over the longest axis, so that every axis uses the same unit.
        square = square + (torch.arange(shape[axis], device="cpu") * (longest / shape[axis])).view(view) ** 2
    radius = square.sqrt()
    band = torch.where(radius < 0.5, 0, 1 + torch.floor(2 * torch.log2(radius.clamp(min=1)) + 1e-4))
    return torch.unique(band.long().flatten(), return_inverse=True)[1]
