"""An orthonormal transform of latents, and sums over the bands of its coefficients.

Rank 4 [B, C, H, W] and rank 5 [B, C, T, H, W] are transformed by a type-II discrete cosine transform over every axis
after the channels. It does not wrap around at the borders. Packed [B, 1, N] and one-dimensional latents stay as they
are. Coefficients have a row for each channel of each sample: [rows, blocks, width]. :mod:`.bands` defines the blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .bands import Layout, half_octaves

LONGEST_AXIS = 2048
"""Longer axes are not transformed: the matrix would be larger than the latent."""

_PIECE = {"cpu": 2**16}
_PIECE_ELSEWHERE = 2**20
"""How many numbers to process at a time: what fits in the cache of a CPU, or what keeps another device busy."""


class Spectrum:
    """The transform and its bands for latents of one shape on one device.

    There is one band per channel and half octave of the radial frequency, or one per channel if nothing is transformed.

    has_space  whether anything is transformed
    sizes      how many coefficients each band has, [bands] float32
    pieces     slices of the rows that are processed together: some samples, or some channels of one sample
    """

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        axes = [axis for axis in range(2, len(shape)) if 1 < shape[axis] <= LONGEST_AXIS] if len(shape) >= 4 else []
        cosines = {length: _cosines(length).to(device, non_blocking=True) for length in {shape[axis] for axis in axes}}
        self._matrices = [(axis - 1, cosines[shape[axis]]) for axis in axes]  # a row has no axis for the sample
        self._shape, self.has_space = shape, bool(axes)
        channels = shape[1] if len(shape) > 2 else 1
        self._rows, self._positions = shape[0] * channels, math.prod(shape[1:]) // channels
        self.pieces = _pieces(shape[0], channels, _PIECE.get(device.type, _PIECE_ELSEWHERE) // self._positions)
        if not axes:
            self.bands, self._blocks, self._width = 1, 1, self._positions
            self.sizes = torch.full((1,), float(self._positions), device=device)
            return
        layout = Layout(half_octaves(shape[2:], {axis - 2 for axis in axes}))
        self.bands, self._blocks, self._width = len(layout.sizes), len(layout.band_of_block), layout.width
        members = (layout.band_of_block[:, None] == torch.arange(self.bands, device="cpu")).float()  # [blocks, bands]
        at = {"device": device, "non_blocking": True}
        self._order, self._filling, self._back = (
            index.to(**at) for index in (layout.order, layout.filling, layout.back)
        )
        self._to_means, self._to_blocks = (members / layout.sizes).to(**at), members.T.contiguous().to(**at)
        self.sizes = layout.sizes.float().to(**at)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> coefficients [rows, blocks, width], float32, in new memory."""
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

    def inverse(self, coefficients: Tensor, in_place: bool = False) -> Tensor:
        """Coefficients [rows, blocks, width] -> [B, ...], float32.

        in_place  whether the coefficients may be overwritten; the latent may then use their memory, with gaps between
                  its rows
        """
        if not self.has_space:
            return (coefficients if in_place else coefficients.clone()).view(self._shape)
        if in_place and self._matrices[0][0] == 1:  # the last product below then writes whole rows
            latents = coefficients.flatten(1)[:, : self._positions]
        else:
            latents = torch.empty((self._rows, self._positions), device=coefficients.device, dtype=torch.float32)
        for piece in self.pieces:
            self._inverse_of(coefficients[piece], latents[piece])
        return latents.view(self._shape)

    def _inverse_of(self, coefficients: Tensor, latents: Tensor) -> Tensor:
        """Some rows of coefficients -> the same rows of the latent, written to ``latents`` [rows, positions]."""
        part = coefficients.flatten(1).index_select(1, self._back).view(-1, *self._shape[2:])
        for axis, matrix in reversed(self._matrices[1:]):
            part = _along(axis, matrix.T, part)
        axis, matrix = self._matrices[0]
        _along(axis, matrix.T, part, out=latents)
        return latents

    def by_sample(self, values: Tensor) -> Tensor:
        """[rows, ...] -> [B, all values of a sample]."""
        return values.view(self._shape[0], -1)

    def band_means(self, sums: Tensor) -> Tensor:
        """Sums over blocks [..., blocks] -> means over bands [..., bands]."""
        return sums @ self._to_means if self.has_space else sums / self._positions

    def mean_over_bands(self, values: Tensor) -> Tensor:
        """Of a value in each band, [rows, bands], the mean over all coefficients of a sample, [B]."""
        return self.by_sample(values * (self.sizes / self._positions)).mean(1) * self.bands

    def spread(self, values: Tensor) -> Tensor:
        """[..., bands] -> each band's value at its blocks, [..., blocks, 1], for broadcasting."""
        return (values @ self._to_blocks if self.has_space else values)[..., None]


def _pieces(samples: int, channels: int, at_once: int) -> list[slice]:
    """The rows in pieces of about ``at_once``. A piece holds whole samples, or is part of one sample."""
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
    """Apply the matrix to one axis, as a matrix product on the memory as it is, without a transposed copy."""
    last = axis == x.ndim - 1
    folded = x.reshape((-1, len(matrix)) if last else (math.prod(x.shape[:axis]), len(matrix), -1))
    out = None if out is None else out.view(folded.shape)
    product = (
        torch.mm(folded, matrix.T, out=out) if last else torch.bmm(matrix.expand(len(folded), -1, -1), folded, out=out)
    )
    return product if out is not None else product.view(x.shape)


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II matrix [n, n] (frequency, position), float32 on the host."""
    position = torch.arange(n, dtype=torch.float64, device="cpu") + 0.5
    frequency = torch.arange(n, dtype=torch.float64, device="cpu")[:, None]
    matrix = torch.cos(math.pi / n * frequency * position) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()  # converted on the host, because Apple's MPS has no float64
