"""An orthonormal transform of latents, and bands of its coefficients.

Natural images have a variance of their own at each spatial frequency, so that is where a Gaussian model
of the data differs least from the data. Rank 4 [B, C, H, W] and rank 5 [B, C, T, H, W] are transformed
over everything behind the channels by a type-II discrete cosine transform (no wrap-around at the
borders); packed [B, 1, N] and one-dimensional latents are left as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST_AXIS = 2048
"""Longer axes are left alone: the transform's matrix would outgrow the latent."""


class Spectrum:
    """The transform and its bands for latents of one shape on one device.

    Bands: one per channel and half octave of the radial frequency; one per channel where nothing is transformed.
    """

    def __init__(self, x: Tensor) -> None:
        axes = [axis for axis in range(2, x.ndim) if 1 < x.shape[axis] <= LONGEST_AXIS] if x.ndim >= 4 else []
        cosines = {length: _cosines(length).to(x.device, non_blocking=True) for length in {x.shape[axis] for axis in axes}}
        self._matrices = [(axis, cosines[x.shape[axis]]) for axis in axes]
        self._shape = x.shape
        self.has_space = bool(self._matrices)
        self._channels = x.shape[1] if x.ndim > 2 else 1
        positions = x[0].numel() // self._channels
        index, self.bands = torch.zeros(positions, dtype=torch.long), 1
        if self._matrices:
            index, self.bands = _half_octaves(x.shape[2:], {axis - 2 for axis, _ in self._matrices})
        members = (index == torch.arange(self.bands)[:, None]).to(torch.float32)
        # [bands, positions]: both ways are products with it, deterministic on every device and faster than indexing.
        self._members = members.to(x.device, non_blocking=True)
        self._share = (1.0 / members.sum(1)).to(x.device, non_blocking=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> coefficients [B, C, positions], float32."""
        x = x.float()
        for axis, matrix in self._matrices:
            x = _along(axis, matrix, x)
        return x.reshape(self._shape[0], self._channels, -1)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Coefficients [B, C, positions] -> [B, ...], float32."""
        x = coefficients.view(self._shape)
        for axis, matrix in self._matrices:
            x = _along(axis, matrix.T, x)
        return x

    def neighbourhood_mean(self, values: Tensor) -> Tensor:
        """[B, C, ...] -> mean over the channels and 3 by 3 neighbours, [B, 1, ...]; only where there are bands in space."""
        mean = values.mean(1, keepdim=True)
        planes = mean.reshape(-1, 1, *mean.shape[-2:])
        return torch.nn.functional.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False).view_as(mean)

    def band_mean(self, values: Tensor) -> Tensor:
        """[B, C, positions] -> mean of each band, [B, C, bands]."""
        return (values @ self._members.T).mul_(self._share)

    def spread(self, values: Tensor) -> Tensor:
        """[B, C, bands] -> each band's value at its positions, [B, C, positions]."""
        return values @ self._members

    def pool_(self, values: Tensor, mean: Tensor, weight: float) -> Tensor:
        """Add ``weight`` times their band's mean to the values, [B, C, positions], in place."""
        values.flatten(0, 1).addmm_(mean.flatten(0, 1), self._members, alpha=weight)
        return values


def _along(axis: int, matrix: Tensor, x: Tensor) -> Tensor:
    """The matrix applied to one axis: a matrix product on the memory as it lies, without a transposed copy."""
    if axis == x.ndim - 1:
        return x @ matrix.T
    return torch.matmul(matrix, x.reshape(*x.shape[: axis + 1], -1)).view(x.shape)


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II matrix [n, n] (frequency, position), float32 on the host."""
    position = torch.arange(n, dtype=torch.float64, device="cpu") + 0.5
    frequency = torch.arange(n, dtype=torch.float64, device="cpu")[:, None]
    matrix = torch.cos(math.pi / n * frequency * position) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()  # before it leaves the host: Apple's MPS has no float64


def _half_octaves(shape: torch.Size, transformed: set[int]) -> tuple[Tensor, int]:
    """Band of each position, [positions], and their number: the mean, then half octaves of the radial frequency."""
    longest = max(shape[axis] for axis in transformed)
    square = torch.zeros(shape)
    for axis in transformed:
        view = [1] * len(shape)
        view[axis] = -1
        # In cycles over the longest axis, so that every axis counts frequency in the same unit.
        square = square + (torch.arange(shape[axis]) * (longest / shape[axis])).view(view) ** 2
    radius = square.sqrt()
    band = torch.where(radius < 0.5, 0, 1 + torch.floor(2 * torch.log2(radius.clamp(min=1)) + 1e-4))
    present, index = torch.unique(band.long().flatten(), return_inverse=True)
    return index, present.numel()
