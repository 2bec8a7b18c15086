"""An orthonormal transform of latents, and bands of its coefficients.

Natural images have a variance of their own at each spatial frequency, so that is where a Gaussian model
of the data differs least from the data. Rank 4 [B, C, H, W] and rank 5 [B, C, T, H, W] are transformed
over everything behind the channels by a type-II discrete cosine transform (no wrap-around at the
borders); packed [B, 1, N] and one-dimensional latents are left as they are.

Coefficients have a row for each channel of each sample, and lie there band by band, each band filled up with
zeros to whole blocks: [rows, blocks, width]. So a band's sum is a sum over blocks, and a band's value reaches
its coefficients by broadcasting, as [rows, blocks, 1]: both are deterministic on every device, and nothing as
large as a latent is kept or made for them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST_AXIS = 2048
"""Longer axes are left alone: the transform's matrix would outgrow the latent."""

_WIDEST_BLOCK = 64
"""Coefficients in a block at most: enough for a sum over a block to be as fast as one over everything."""

_FILLING = 0.125
"""Share that filling up may add, else blocks are narrower."""

_PIECE = {"cpu": 2**16}
_PIECE_ELSEWHERE = 2**20
"""How many numbers to work on at a time: on a CPU what its cache holds, on other devices what fills them."""


class Spectrum:
    """The transform and its bands for latents of one shape on one device.

    Bands: one per channel and half octave of the radial frequency; one per channel where nothing is transformed.

    has_space  whether anything is transformed
    pieces     slices of the rows to be worked on at a time: some samples, or some channels of one
    """

    def __init__(self, x: Tensor) -> None:
        axes = [axis for axis in range(2, x.ndim) if 1 < x.shape[axis] <= LONGEST_AXIS] if x.ndim >= 4 else []
        cosines = {length: _cosines(length).to(x.device, non_blocking=True) for length in {x.shape[axis] for axis in axes}}
        self._matrices = [(axis - 1, cosines[x.shape[axis]]) for axis in axes]  # a row has no axis for the sample
        self._shape, self.has_space = x.shape, bool(axes)
        channels = x.shape[1] if x.ndim > 2 else 1
        self._rows, self._positions = len(x) * channels, x[0].numel() // channels
        self._channels, self.pieces = channels, _pieces(len(x), channels, _PIECE.get(x.device.type, _PIECE_ELSEWHERE) // self._positions)
        if not axes:
            self.bands, self._blocks, self._width = 1, 1, self._positions
            return
        layout = _Layout(_half_octaves(x.shape[2:], {axis - 2 for axis in axes}))
        self.bands, self._blocks, self._width = len(layout.sizes), len(layout.band_of_block), layout.width
        members = (layout.band_of_block[:, None] == torch.arange(self.bands)).float()  # [blocks, bands]
        at = {"device": x.device, "non_blocking": True}
        self._order, self._filling, self._back = (index.to(**at) for index in (layout.order, layout.filling, layout.back))
        self._to_means, self._to_blocks = (members / layout.sizes).to(**at), members.T.contiguous().to(**at)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> coefficients [rows, blocks, width], float32, in memory of their own."""
        latents = x.reshape(self._rows, *self._shape[2:]) if self.has_space else x.reshape(self._rows, -1)
        coefficients = torch.empty((self._rows, self._blocks * self._width), device=x.device, dtype=torch.float32)
        for piece in self.pieces:
            if not self.has_space:
                coefficients[piece] = latents[piece]
                continue
            part = latents[piece].float()
            for axis, matrix in self._matrices:
                part = _along(axis, matrix, part)
            torch.index_select(part.flatten(1), 1, self._order, out=coefficients[piece])
        if self.has_space:
            coefficients.index_fill_(1, self._filling, 0.0)
        return coefficients.view(self._rows, self._blocks, self._width)

    def inverse(self, coefficients: Tensor, spent: bool = False) -> Tensor:
        """Coefficients [rows, blocks, width] -> [B, ...], float32.

        spent  whether the coefficients are not needed any more: the latent may then lie in their memory, with gaps between its rows
        """
        if not self.has_space:
            return (coefficients if spent else coefficients.clone()).view(self._shape)
        if spent and self._matrices[0][0] == 1:  # what comes last, below, then writes rows as a whole
            latents = coefficients.flatten(1)[:, : self._positions]
        else:
            latents = torch.empty((self._rows, self._positions), device=coefficients.device, dtype=torch.float32)
        for piece in self.pieces:
            self._inverse_of(coefficients[piece], latents[piece])
        return latents.view(self._shape)

    def _inverse_of(self, coefficients: Tensor, latents: Tensor) -> Tensor:
        """Some rows of coefficients -> as many of the latent, [rows, positions], given."""
        part = coefficients.flatten(1).index_select(1, self._back).view(-1, *self._shape[2:])
        for axis, matrix in reversed(self._matrices[1:]):
            part = _along(axis, matrix.T, part)
        axis, matrix = self._matrices[0]
        _along(axis, matrix.T, part, out=latents)
        return latents

    def by_sample(self, values: Tensor) -> Tensor:
        """[rows, ...] -> [B, all of a sample's]."""
        return values.view(self._shape[0], -1)

    def band_means(self, sums: Tensor) -> Tensor:
        """Sums over blocks [..., blocks] -> means over bands [..., bands]."""
        return sums @ self._to_means if self.has_space else sums / self._positions

    def spread(self, values: Tensor) -> Tensor:
        """[..., bands] -> each band's value at its blocks, [..., blocks, 1], to be broadcast."""
        return (values @ self._to_blocks if self.has_space else values)[..., None]


class _Layout:
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
        begin = (blocks.cumsum(0) - blocks) * width - (self.sizes.cumsum(0) - self.sizes)  # of each band, over its begin when unfilled
        by_band = torch.argsort(band, stable=True)
        places = torch.arange(len(band)) + begin[band[by_band]]
        order = torch.full((int(blocks.sum()) * width,), -1)
        order[places] = by_band
        self.filling = (order < 0).nonzero().flatten()
        self.order = order.clamp(min=0).int()
        self.back = torch.empty_like(by_band).index_copy_(0, by_band, places).int()

    def _blocks(self, width: int) -> Tensor:
        return torch.div(self.sizes + width - 1, width, rounding_mode="floor")


def _pieces(samples: int, channels: int, at_once: int) -> list[slice]:
    """The rows in pieces of about that many: of whole samples, or else each within a sample."""
    if at_once >= channels:
        step, rows = at_once // channels * channels, samples * channels
        return [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
    step = max(1, at_once)
    return [
        slice(first + begin, first + min(begin + step, channels))
        for first in range(0, samples * channels, channels)
        for begin in range(0, channels, step)
    ]


def _along(axis: int, matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """The matrix applied to one axis: a matrix product on the memory as it lies, without a transposed copy."""
    last = axis == x.ndim - 1
    folded = x.reshape((-1, len(matrix)) if last else (math.prod(x.shape[:axis]), len(matrix), -1))
    out = None if out is None else out.view(folded.shape)
    product = torch.mm(folded, matrix.T, out=out) if last else torch.bmm(matrix.expand(len(folded), -1, -1), folded, out=out)
    return product if out is not None else product.view(x.shape)


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II matrix [n, n] (frequency, position), float32 on the host."""
    position = torch.arange(n, dtype=torch.float64, device="cpu") + 0.5
    frequency = torch.arange(n, dtype=torch.float64, device="cpu")[:, None]
    matrix = torch.cos(math.pi / n * frequency * position) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()  # before it leaves the host: Apple's MPS has no float64


def _half_octaves(shape: torch.Size, transformed: set[int]) -> Tensor:
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
