"""The data for the problems' distributions: points, pictures, covariances."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from . import drawings
from .distributions import GaussianMixture, KernelDensity, Sphere, Tiles


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotations(count: int, dim: int, rank: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal columns, [count, dim, rank]."""
    return torch.linalg.qr(torch.randn(count, dim, rank, generator=generator, dtype=torch.float64)).Q


def axis_gaussian() -> GaussianMixture:
    """Independent coordinates with standard deviations from 0.02 to 2."""
    std = torch.logspace(math.log10(0.02), math.log10(2.0), 64, dtype=torch.float64)
    mean = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64)
    return GaussianMixture(
        torch.zeros(1), mean[None], torch.eye(64, dtype=torch.float64)[None], std.square()[None], 0.0
    )


def round_gaussian() -> GaussianMixture:
    """The same standard deviation in every direction, for which a local Gaussian model is exact."""
    mean = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64)
    return GaussianMixture(
        torch.zeros(1),
        mean[None],
        torch.eye(64, dtype=torch.float64)[None],
        torch.full((1, 64), 0.7**2, dtype=torch.float64),
        0.0,
    )


def rotated_gaussian() -> GaussianMixture:
    """The same standard deviations along random axes."""
    generator = seeded(1)
    std = torch.logspace(math.log10(0.02), math.log10(2.0), 64, dtype=torch.float64)
    mean = 0.3 * torch.randn(1, 64, generator=generator, dtype=torch.float64)
    return GaussianMixture(torch.zeros(1), mean, rotations(1, 64, 64, generator), std.square()[None], 0.0)


def spiral(width: float) -> KernelDensity:
    """Two turns of an Archimedean spiral, 400 points of equal arc length."""
    angle = np.linspace(0.5 * np.pi, 4.5 * np.pi, 20_000)
    curve = (angle / angle[-1] * 2.0)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.linspace(0.0, length[-1], 400)
    points = np.stack([np.interp(even, length, curve[:, i]) for i in range(2)], axis=1)
    return KernelDensity(torch.from_numpy(points), width)


def tree(width: float, depth: int = 5) -> KernelDensity:
    """A tree that forks ``depth`` times, with ever shorter branches. It needs many decisions on the way to the data."""
    points: list[np.ndarray] = []

    def grow(start: np.ndarray, angle: float, length: float, level: int) -> None:
        end = start + length * np.array([np.sin(angle), np.cos(angle)])
        count = max(2, round(length / (0.5 * width)))
        points.append(start + np.linspace(0.0, 1.0, count, endpoint=False)[:, None] * (end - start))
        if level < depth:
            for side in (-1.0, 1.0):
                grow(end, angle + side * 0.6 / (1 + 0.15 * level), 0.72 * length, level + 1)

    grow(np.array([0.0, -1.6]), 0.0, 1.0, 0)
    return KernelDensity(torch.from_numpy(np.concatenate(points)), width)


def small_mixture() -> GaussianMixture:
    """Ten Gaussians on 8x8 with standard deviations from 0.05 to 1 along random axes; five classes of two."""
    generator = seeded(2)
    count, dim = 10, 64
    std = torch.logspace(math.log10(0.05), 0.0, dim, dtype=torch.float64)
    variances = torch.stack([std[torch.randperm(dim, generator=generator)] for _ in range(count)]).square()
    means = 0.5 * torch.randn(count, dim, generator=generator, dtype=torch.float64)
    weights = torch.linspace(1.0, 2.0, count, dtype=torch.float64)
    return GaussianMixture(
        (weights / weights.sum()).log(),
        means,
        rotations(count, dim, dim, generator),
        variances,
        0.0,
        torch.arange(count) // 2,
    )


def cosine_basis(side: int, count: int) -> Tensor:
    """The ``count`` lowest-frequency orthonormal DCT-II functions on a square, [side * side, count]."""
    position = torch.arange(side, dtype=torch.float64) + 0.5
    line = torch.cos(math.pi / side * position[:, None] * torch.arange(side, dtype=torch.float64))
    line = line / line.norm(dim=0)
    order = sorted((i * i + j * j, i, j) for i in range(side) for j in range(side))[:count]
    return torch.stack([torch.outer(line[:, i], line[:, j]).flatten() for _, i, j in order], dim=1)


def smooth_mixture() -> GaussianMixture:
    """Twelve Gaussians on 3x16x16: smooth random fields of rank 24 with falling spectra, and noise of 0.05."""
    generator = seeded(3)
    count, rank, side, low = 12, 24, 16, 20
    fields = torch.block_diag(*[cosine_basis(side, low)] * 3)  # [768, 60]
    falling = (1.0 + torch.arange(low, dtype=torch.float64)).pow(-0.7).repeat(3)
    mixing = falling[None, :, None] * torch.randn(count, 3 * low, rank, generator=generator, dtype=torch.float64)
    bases = torch.linalg.qr(fields @ mixing).Q
    std = 6.0 * (1.0 + torch.arange(rank, dtype=torch.float64)).pow(-1.0)
    means = (
        fields
        @ (4.0 * falling[None, :, None] * torch.randn(count, 3 * low, 1, generator=generator, dtype=torch.float64))
    )[:, :, 0]
    variances = std.square().expand(count, rank) + 0.05**2
    return GaussianMixture(torch.full((count,), -math.log(count)), means, bases, variances, 0.05**2)


@cache
def digit_images() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images [1797, 64] in [-1, 1] float64, labels [1797]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.from_numpy(digits.data / 8.0 - 1.0), torch.from_numpy(digits.target).long()


@cache
def photograph_patches(count: int, side: int = 16) -> Tensor:
    """Patches at random places of scikit-learn's two sample photographs: [count, 3 * side * side] in [-1, 1]
    float64.
    """
    generator = np.random.default_rng(4)
    patches = []
    for image in _sample_photographs():
        picture = image.astype(np.float64) / 127.5 - 1.0
        rows = generator.integers(0, picture.shape[0] - side, count // 2)
        columns = generator.integers(0, picture.shape[1] - side, count // 2)
        patches += [
            picture[r : r + side, c : c + side].transpose(2, 0, 1).ravel() for r, c in zip(rows, columns, strict=True)
        ]
    return torch.from_numpy(np.stack(patches))


CLIP, SOUND = (3, 4, 12, 12), (4, 16)
"""Shapes of a video and of its sound."""


@cache
def clips(count: int) -> Tensor:
    """Windows that pan over scikit-learn's two sample photographs, and for each a sound: [count, 1728 + 64] float64.

    The sound follows the picture: a hum that is as loud as the picture is bright and rises with the pan's speed, and a
    falling spectrum of noise.
    """
    generator = np.random.default_rng(6)
    frames, side = CLIP[1:3]
    made = []
    pictures = [image.astype(np.float64) / 127.5 - 1.0 for image in _sample_photographs()]
    time = np.arange(SOUND[1])
    falling = (1.0 + time) ** -0.7
    for number in range(count):
        picture = pictures[number % len(pictures)]
        pan = generator.integers(-3, 4, 2)
        room = 3 * frames
        begin = [generator.integers(room, length - side - room) for length in picture.shape[:2]]
        corners = [[start + step * frame for start, step in zip(begin, pan, strict=True)] for frame in range(frames)]
        clip = np.stack([picture[r : r + side, c : c + side].transpose(2, 0, 1) for r, c in corners], axis=1)
        speed = 0.2 + 0.3 * np.hypot(*pan)
        hum = (1.0 + clip.mean()) * np.sin(speed * time[None] + np.arange(SOUND[0])[:, None])
        coefficients = falling * generator.standard_normal(SOUND)
        noise = np.stack([np.fft.irfft(row, 2 * len(row))[: len(row)] for row in coefficients]) * len(time) ** 0.5
        made.append(np.concatenate([clip.ravel(), (hum + noise).ravel()]))
    return torch.from_numpy(np.stack(made))


def _sample_photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    return load_sample_images().images


def _gaussian_of(points: Tensor) -> GaussianMixture:
    """The Gaussian with their mean and covariance. No direction is narrower than 0.02."""
    mean = points.mean(0)
    covariance = (points - mean).T @ (points - mean) / len(points)
    variances, basis = torch.linalg.eigh(covariance)
    return GaussianMixture(torch.zeros(1), mean[None], basis[None], variances.clamp_min(0.02**2)[None], 0.0)


def clip_gaussian() -> GaussianMixture:
    """The Gaussian of 4000 clips."""
    return _gaussian_of(clips(4000))


def patch_gaussian() -> GaussianMixture:
    """The Gaussian with the mean and covariance of 6000 patches. No direction is narrower than 0.02."""
    return _gaussian_of(photograph_patches(6000))


def line_art(width: float) -> Tiles:
    """Four by four tiles of 8x8, from 240 pictures of strokes and 120 blank ones. So a third of the tiles are blank."""
    pictures, labels = drawings.line_art(240)
    blank = torch.full((120, pictures.shape[1]), drawings.WHITE, dtype=torch.float64)
    points, classes = torch.cat([pictures, blank]), torch.cat([labels, torch.arange(120) % 3])
    return Tiles(KernelDensity(points, width, classes), (1, 8, 8), 4, 4)


def flat_areas() -> GaussianMixture:
    """Sixteen layouts of three shapes on 3x16x16. A shape's colour is Gaussian, and the background is exactly white."""
    masks = drawings.flat_areas(16)
    count, shapes = masks.shape[:2]
    generator = seeded(8)
    flat = masks.flatten(2)  # [K, shapes, 256]
    colours = 0.5 * torch.randn(count, shapes, 3, generator=generator, dtype=torch.float64)
    background = drawings.WHITE * (1 - flat.sum(1))
    means = (torch.einsum("ksp,ksc->kcp", flat, colours) + background[:, None]).flatten(1)
    bases = torch.stack([torch.block_diag(*[(m / m.norm(dim=1, keepdim=True)).T] * 3) for m in flat])
    # A unit along a mask's direction is 1/sqrt(area) in each of its pixels.
    variances = 0.3**2 * flat.sum(2).repeat(1, 3)
    return GaussianMixture(torch.full((count,), -math.log(count)), means, bases, variances, 0.0)


def even_colour() -> GaussianMixture:
    """One colour over the whole of a 3x16x16 picture, Gaussian with deviation 0.8 in each channel."""
    bases = torch.block_diag(*[torch.full((256, 1), 1 / 16, dtype=torch.float64)] * 3)
    variances = torch.full((1, 3), 256 * 0.8**2, dtype=torch.float64)
    return GaussianMixture(torch.zeros(1), torch.zeros(1, 768, dtype=torch.float64), bases[None], variances, 0.0)


def gratings() -> GaussianMixture:
    """Twelve plane waves on 16x16. Each has a Gaussian amplitude and so any phase. The pictures hold nothing else."""
    waves = drawings.gratings()
    count, dim = waves.shape[:2]
    variances = torch.full((count, 2), 0.7**2 * dim / 2, dtype=torch.float64)
    return GaussianMixture(
        torch.full((count,), -math.log(count)), torch.zeros(count, dim, dtype=torch.float64), waves, variances, 0.0
    )


def one_grating() -> KernelDensity:
    """A single picture. The denoiser is a constant, and an exponential step is exact."""
    return KernelDensity(drawings.gratings(count=1)[:, :, 0] * 16 / math.sqrt(2), 0.0)


def sphere(n: int) -> Sphere:
    """A sphere in 64 dimensions. The mean square of each coordinate's deviation is 1."""
    return Sphere(rotations(1, 64, n, seeded(9))[0], 8.0)
