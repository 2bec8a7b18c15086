"""Which coefficients of a transformed latent make a band, and how they lie in memory.

Natural images have a variance of their own at each spatial frequency, so that is where a Gaussian model
of the data differs least from the data. A band is a half octave of the radial frequency.

Coefficients lie band by band, each band filled up with zeros to whole blocks. So a band's sum is a sum over blocks, and
a band's value reaches its coefficients by broadcasting: both are deterministic on every device, and nothing as
large as a latent is kept or made for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WIDEST_BLOCK = 64
"""Coefficients in a block at most: enough for a sum over a block to be as fast as one over everything."""

_FILLING = 0.125
"""Share that filling up may add, else blocks are narrower."""


class Layout:
    """How coefficients are ordered by band.

    sizes          how many coefficients a band has, [bands]
    order          which coefficient stands at a place, [blocks * width]; anything where a place is filling
    filling        the places that are filling
    back           at which place a coefficient stands, [positions]
    band_of_block  [blocks]
    width          coefficients in a block
    """

    def __init__(self, band: Tensor) -> None:
        self.sizes = torch.bincount(band)
        width = _WIDEST_BLOCK
        while width > 1 and self._blocks(width).sum() * width > (1 + _FILLING) * len(band):
            width //= 2
        self.width, blocks = width, self._blocks(width)
        self.band_of_block = torch.repeat_interleave(torch.arange(len(blocks)), blocks)
        # Of each band, how far it begins behind its begin when unfilled.
        begin = (blocks.cumsum(0) - blocks) * width - (self.sizes.cumsum(0) - self.sizes)
        by_band = torch.argsort(band, stable=True)
        places = torch.arange(len(band)) + begin[band[by_band]]
        order = torch.full((int(blocks.sum()) * width,), -1)
        order[places] = by_band
        self.filling = (order < 0).nonzero().flatten()
        self.order = order.clamp(min=0).int()
        self.back = torch.empty_like(by_band).index_copy_(0, by_band, places).int()

    def _blocks(self, width: int) -> Tensor:
        return torch.div(self.sizes + width - 1, width, rounding_mode="floor")


def half_octaves(shape: torch.Size, transformed: set[int]) -> Tensor:
    """Band of each position, [positions], counted from 0: the mean, then half octaves of the radial frequency."""
    longest = max(shape[axis] for axis in transformed)
    square = torch.zeros(shape)
    for axis in transformed:
        view = [1] * len(shape)
        view[axis] = -1
        # In cycles over the longest axis, so that every axis counts frequency in the same unit.
        square = square + (torch.arange(shape[axis]) * (longest / shape[axis])).view(view) ** 2
    radius = square.sqrt()
    band = torch.where(radius < 0.5, 0, 1 + torch.floor(2 * torch.log2(radius.clamp(min=1)) + 1e-4))
    return torch.unique(band.long().flatten(), return_inverse=True)[1]
