"""Problems whose denoiser is known exactly, so that a sampler's error can be measured and not guessed.

Every distribution here is a mixture of Gaussians (or of points, Gaussians without a width) or uniform on a
sphere. Their posterior mean

    D(x, sigma) = E[data | alpha * data + sigma * noise = x]

is a closed formula: Bayes' rule with Gaussian conditioning, or a ratio of Bessel functions. On sigma-space
models alpha = 1, on flow models alpha = 1 - sigma. What varies is where the Gaussians come from: designed
covariances, curves in the plane, scikit-learn's digits, patches of its sample photographs, drawn line art
and flat areas. Nothing is downloaded.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from . import drawings


class Distribution(Protocol):
    """A distribution over flat vectors of ``dim`` numbers, whose parts belong to classes."""

    dim: int
    classes: int

    @property
    def deviation(self) -> float:
        """The data's standard deviation, root mean square over the dimensions."""
        ...

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        """E[data | alpha * data + sigma * noise = x].

        x             [B, dim]; its dtype is the dtype of the arithmetic
        alpha, sigma  [B, 1]
        condition     [B, classes] weights of the classes; a row of zeros, or None: unconditional
        """
        ...


class _Constants:
    """Tensors of one distribution in each dtype they are asked for."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors
        self._cast: dict[torch.dtype, dict[str, Tensor]] = {}

    def at(self, dtype: torch.dtype) -> dict[str, Tensor]:
        if dtype not in self._cast:
            self._cast[dtype] = {name: t if t.dtype == torch.long else t.to(dtype) for name, t in self._tensors.items()}
        return self._cast[dtype]


def _log_prior(log_weights: Tensor, labels: Tensor, condition: Tensor | None) -> Tensor:
    """Log prior of each component given the class weights: [B, K], or [K] without a condition."""
    if condition is None:
        return log_weights
    weights = torch.where(condition.sum(1, keepdim=True) > 0, condition, torch.ones_like(condition))
    return log_weights + weights.log()[:, labels]


class KernelDensity:
    """Equal isotropic Gaussians of one width around points: a smoothed data set.

    points  [N, dim] float64
    width   standard deviation around each point; 0 for the points themselves
    labels  [N] class of each point, or None for a single class
    """

    def __init__(self, points: Tensor, width: float, labels: Tensor | None = None) -> None:
        self.dim = points.shape[1]
        labels = torch.zeros(len(points), dtype=torch.long) if labels is None else labels
        self.classes = int(labels.max()) + 1
        self.points, self.labels, self.width = points, labels, width
        # Distances enter as differences of large numbers: around the mean they are smaller.
        centre = points.mean(0)
        offsets = points - centre
        self._constants = _Constants(
            centre=centre,
            offsets=offsets,
            half_squares=offsets.square().sum(1) / 2,
            log_weights=torch.full((len(points),), -math.log(len(points)), dtype=torch.float64),
            labels=labels,
        )

    @property
    def deviation(self) -> float:
        return math.sqrt(float(self.points.var(0, unbiased=False).mean()) + self.width**2)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        c = self._constants.at(x.dtype)
        variance = (alpha * self.width) ** 2 + sigma**2
        y = x - alpha * c["centre"]
        # The square of y is the same for every point and cancels in the softmax.
        logits = (alpha * (y @ c["offsets"].T) - alpha**2 * c["half_squares"]) / variance
        nearest = torch.softmax(logits + _log_prior(c["log_weights"], c["labels"], condition), dim=1) @ c["offsets"]
        return c["centre"] + (alpha * self.width**2 / variance) * y + (sigma**2 / variance) * nearest


class GaussianMixture:
    """Gaussians with covariances U_k diag(variances_k) U_k^T + floor * (I - U_k U_k^T).

    log_weights  [K]
    means        [K, dim] float64
    bases        [K, dim, R] orthonormal columns
    variances    [K, R]
    floor        variance in all directions outside the basis; unused where R = dim
    labels       [K] class of each component, or None for a single class
    """

    def __init__(
        self,
        log_weights: Tensor,
        means: Tensor,
        bases: Tensor,
        variances: Tensor,
        floor: float,
        labels: Tensor | None = None,
    ) -> None:
        self.dim = means.shape[1]
        self.floor, self.full = floor, bases.shape[2] == self.dim
        labels = torch.zeros(len(means), dtype=torch.long) if labels is None else labels
        self.classes = int(labels.max()) + 1
        self._constants = _Constants(
            log_weights=log_weights.double(),
            means=means.double(),
            bases=bases.double(),
            variances=variances.double(),
            labels=labels,
        )

    @property
    def deviation(self) -> float:
        c = self._constants.at(torch.float64)
        weights, means = c["log_weights"].softmax(0), c["means"]
        inside = c["variances"].sum(1) + self.floor * (self.dim - c["variances"].shape[1])
        return math.sqrt(float(weights @ (inside + (means - weights @ means).square().sum(1))) / self.dim)

    def widened(self, factor: float) -> GaussianMixture:
        """The same Gaussians with every standard deviation times ``factor``."""
        c = self._constants.at(torch.float64)
        variances, floor = c["variances"] * factor**2, self.floor * factor**2
        return GaussianMixture(c["log_weights"], c["means"], c["bases"], variances, floor, c["labels"])

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        c = self._constants.at(x.dtype)
        a, s = alpha[:, :, None], sigma[:, :, None]
        means, bases, variances = c["means"], c["bases"], c["variances"]
        offset = x[:, None] - a * means  # [B, K, dim]
        inside = torch.einsum("bkd,kdr->bkr", offset, bases)
        noisy = a**2 * variances + s**2
        mean = means + a * torch.einsum("bkr,kdr->bkd", variances / noisy * inside, bases)
        log_density = -0.5 * (inside.square() / noisy + noisy.log()).sum(2)
        if not self.full:
            outside = offset - torch.einsum("bkr,kdr->bkd", inside, bases)
            noisy_floor = a**2 * self.floor + s**2
            mean = mean + a * self.floor / noisy_floor * outside
            log_density = log_density - 0.5 * outside.square().sum(2) / noisy_floor[:, :, 0]
        # The log of noisy_floor is the same for every component and cancels in the softmax.
        share = torch.softmax(log_density + _log_prior(c["log_weights"], c["labels"], condition), dim=1)
        return torch.einsum("bk,bkd->bd", share, mean)


class Sphere:
    """Uniform on a sphere around 0 that fills some of the dimensions; the others are exactly 0.

    basis   [dim, n] orthonormal: where the sphere lies, in n dimensions
    radius  of the sphere
    """

    classes = 1

    def __init__(self, basis: Tensor, radius: float) -> None:
        self.dim, self.radius = basis.shape[0], radius
        self._order = basis.shape[1] / 2 - 1
        self._constants = _Constants(basis=basis.double())

    @property
    def deviation(self) -> float:
        return self.radius / math.sqrt(self.dim)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        basis = self._constants.at(x.dtype)["basis"]
        inside = x @ basis
        length = inside.norm(dim=1, keepdim=True)
        # Given x the directions follow a von Mises-Fisher distribution of this concentration.
        share = bessel_ratio(self._order, alpha * self.radius * length / sigma**2)
        return (self.radius * share * inside / length) @ basis.T


def bessel_ratio(order: float, z: Tensor) -> Tensor:
    """I_{order+1}(z) / I_order(z) of modified Bessel functions of the first kind, z >= 0 of any shape, order > -1.

    Up to 500 by Gauss's continued fraction, from below, which forgets where it began as exp(-levels^2 / z);
    above by Hankel's asymptotic series (DLMF 10.33.1 and 10.40.1). Right to rounding for orders up to 50.
    """
    far = z > 500.0
    near = z.clamp(1e-30, 500.0)
    levels = 12 + math.ceil(6.0 * math.sqrt(float(near.max())))
    top = order + levels
    ratio = near / (top + 0.5 + (near.square() + (top + 1.5) ** 2).sqrt())  # Amos' bound
    for level in range(levels, 0, -1):
        ratio = near / (2.0 * (order + level) + near * ratio)
    if not bool(far.any()):
        return ratio

    def series(mu: float) -> Tensor:
        """Of sqrt(2 pi z) exp(-z) I(z)."""
        term = total = torch.ones_like(z)
        for k in range(1, 25):
            term = -term * (mu - (2 * k - 1) ** 2) / (8 * k * z.clamp_min(500.0))
            total = total + term
        return total

    return torch.where(far, series(4 * (order + 1) ** 2) / series(4 * order**2), ratio)


class Tiles:
    """Independent squares of one distribution, side by side in a picture; a class holds for all of them.

    tile           distribution of one square
    shape          of one square, [C, h, w]
    rows, columns  how many squares
    """

    def __init__(self, tile: Distribution, shape: tuple[int, int, int], rows: int, columns: int) -> None:
        self.tile, self.classes, self.dim = tile, tile.classes, tile.dim * rows * columns
        self._shape, self._grid = shape, (rows, columns)

    @property
    def deviation(self) -> float:
        return self.tile.deviation

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        (channels, height, width), (rows, columns) = self._shape, self._grid
        count = rows * columns
        tiles = x.view(-1, channels, rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
        each = (None if t is None else t.repeat_interleave(count, 0) for t in (alpha, sigma, condition))
        means = self.tile.posterior_mean(tiles.reshape(len(x) * count, -1), *each)
        return means.view(tiles.shape).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


@dataclass(frozen=True)
class Problem:
    """A distribution as a sampling problem.

    name          as in the results
    shape         of one latent, such as (1, 8, 8)
    distribution  what is sampled
    note          what it is, for people
    groups        what it counts as: "gaussian", "plane", "mixture", "image", "cfg", "flat" (exactly even areas),
                  "edges", "manifold", "rounded"; "exact": a check of what is exact there, the plain step or the
                  calibrated rule, and no measure of anything
    cfg           guidance scale; 1 for none. Above 1 sample i asks for class i modulo the classes
    samples       how many start noises the benchmark follows
    negative      under CFG, the negative is each sample's next class and not the unconditional
    interval      under CFG, the levels of sigma / alpha between which it acts; elsewhere the sample's class alone does
    min_steps     of the reference: many for data without a width, see :func:`bench.reference.converge`
    rounded       the model's output, (x - D) / sigma in every kind of model, is rounded to bfloat16: what a sampler
                  gets, and not what the reference is made of
    """

    name: str
    shape: tuple[int, ...]
    distribution: Distribution
    note: str
    groups: tuple[str, ...]
    cfg: float = 1.0
    samples: int = 32
    negative: bool = False
    interval: tuple[float, float] | None = None
    rounded: bool = False
    min_steps: int = 200

    def condition(self, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Class weights of the samples, [B, classes]: one class each under CFG, else unconditional."""
        classes = self.distribution.classes
        if self.cfg == 1.0:
            return torch.zeros(batch, classes, dtype=dtype)
        return torch.nn.functional.one_hot(torch.arange(batch) % classes, classes).to(dtype)

    def negative_condition(self, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Class weights of the negative prompt, [B, classes]: none, or the next class."""
        wanted = self.condition(batch, dtype)
        return wanted.roll(1, dims=1) if self.negative else torch.zeros_like(wanted)

    def guided(self, sigma: float, flow: bool) -> bool:
        """Whether CFG acts at a level."""
        if self.cfg == 1.0 or self.interval is None:
            return self.cfg != 1.0
        low, high = self.interval
        alpha = 1 - sigma if flow else 1.0
        return low * alpha <= sigma <= high * alpha

    def breaks(self, flow: bool) -> tuple[float, ...]:
        """The levels where CFG sets in and ends: there the ODE has a jump."""
        return tuple(level / (1 + level) if flow else level for level in self.interval or ())

    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None) -> Tensor:
        """The model's prediction for the given class weights: [B, *shape] -> [B, *shape].

        sigma  a number or [B]
        """
        exact = self._posterior_mean(x, sigma, flow, condition)
        if not self.rounded:
            return exact
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).view(-1, *(1,) * (x.ndim - 1))
        return x - sigma * ((x - exact) / sigma).bfloat16().to(x.dtype)

    def denoise(self, x: Tensor, sigma: Tensor | float, flow: bool = False) -> Tensor:
        """The guided output D_n + cfg (D_c - D_n), what a sampler's ODE is made of; never rounded.

        sigma  one level for all samples
        """
        batch, dtype = len(x), x.dtype
        wanted = None if self.cfg == 1.0 else self.condition(batch, dtype)
        conditional = self._posterior_mean(x, sigma, flow, wanted)
        if not self.guided(float(torch.as_tensor(sigma).max()), flow):
            return conditional
        negative = self._posterior_mean(x, sigma, flow, self.negative_condition(batch, dtype))
        return negative + self.cfg * (conditional - negative)

    def _posterior_mean(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, 1)
        alpha = 1 - sigma if flow else torch.ones_like(sigma)
        return self.distribution.posterior_mean(x.flatten(1), alpha, sigma, condition).view(x.shape)

    def noise(self, batch: int | None = None) -> Tensor:
        """The start noises, [B, *shape] float32: the same at every call."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        return torch.randn((batch or self.samples, *self.shape), generator=generator)


# ---------------------------------------------------------------------------------------------------------------------
# Where the Gaussians come from
# ---------------------------------------------------------------------------------------------------------------------


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rotations(count: int, dim: int, rank: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal columns, [count, dim, rank]."""
    return torch.linalg.qr(torch.randn(count, dim, rank, generator=generator, dtype=torch.float64)).Q


def _axis_gaussian() -> GaussianMixture:
    """Independent coordinates with standard deviations from 0.02 to 2."""
    std = torch.logspace(math.log10(0.02), math.log10(2.0), 64, dtype=torch.float64)
    mean = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64)
    return GaussianMixture(
        torch.zeros(1), mean[None], torch.eye(64, dtype=torch.float64)[None], std.square()[None], 0.0
    )


def _round_gaussian() -> GaussianMixture:
    """One standard deviation in every direction: a local Gaussian model is no approximation."""
    mean = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64)
    return GaussianMixture(
        torch.zeros(1),
        mean[None],
        torch.eye(64, dtype=torch.float64)[None],
        torch.full((1, 64), 0.7**2, dtype=torch.float64),
        0.0,
    )


def _rotated_gaussian() -> GaussianMixture:
    """The same standard deviations along random axes."""
    generator = _generator(1)
    std = torch.logspace(math.log10(0.02), math.log10(2.0), 64, dtype=torch.float64)
    mean = 0.3 * torch.randn(1, 64, generator=generator, dtype=torch.float64)
    return GaussianMixture(torch.zeros(1), mean, _rotations(1, 64, 64, generator), std.square()[None], 0.0)


def _spiral(width: float) -> KernelDensity:
    """Two turns of an Archimedean spiral, 400 points of equal arc length."""
    angle = np.linspace(0.5 * np.pi, 4.5 * np.pi, 20_000)
    curve = (angle / angle[-1] * 2.0)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.linspace(0.0, length[-1], 400)
    points = np.stack([np.interp(even, length, curve[:, i]) for i in range(2)], axis=1)
    return KernelDensity(torch.from_numpy(points), width)


def _tree(width: float, depth: int = 5) -> KernelDensity:
    """A tree that forks ``depth`` times, branches getting shorter: many decisions on the way to the data."""
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


def _small_mixture() -> GaussianMixture:
    """Ten Gaussians on 8x8 with standard deviations from 0.05 to 1 along random axes; five classes of two."""
    generator = _generator(2)
    count, dim = 10, 64
    std = torch.logspace(math.log10(0.05), 0.0, dim, dtype=torch.float64)
    variances = torch.stack([std[torch.randperm(dim, generator=generator)] for _ in range(count)]).square()
    means = 0.5 * torch.randn(count, dim, generator=generator, dtype=torch.float64)
    weights = torch.linspace(1.0, 2.0, count, dtype=torch.float64)
    return GaussianMixture(
        (weights / weights.sum()).log(),
        means,
        _rotations(count, dim, dim, generator),
        variances,
        0.0,
        torch.arange(count) // 2,
    )


def _cosine_basis(side: int, count: int) -> Tensor:
    """The ``count`` lowest-frequency orthonormal DCT-II functions on a square, [side * side, count]."""
    position = torch.arange(side, dtype=torch.float64) + 0.5
    line = torch.cos(math.pi / side * position[:, None] * torch.arange(side, dtype=torch.float64))
    line = line / line.norm(dim=0)
    order = sorted((i * i + j * j, i, j) for i in range(side) for j in range(side))[:count]
    return torch.stack([torch.outer(line[:, i], line[:, j]).flatten() for _, i, j in order], dim=1)


def _smooth_mixture() -> GaussianMixture:
    """Twelve Gaussians on 3x16x16: smooth random fields of rank 24 with falling spectra, and noise of 0.05."""
    generator = _generator(3)
    count, rank, side, low = 12, 24, 16, 20
    fields = torch.block_diag(*[_cosine_basis(side, low)] * 3)  # [768, 60]
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
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(4)
    patches = []
    for image in load_sample_images().images:
        picture = image.astype(np.float64) / 127.5 - 1.0
        rows = generator.integers(0, picture.shape[0] - side, count // 2)
        columns = generator.integers(0, picture.shape[1] - side, count // 2)
        patches += [
            picture[r : r + side, c : c + side].transpose(2, 0, 1).ravel() for r, c in zip(rows, columns, strict=True)
        ]
    return torch.from_numpy(np.stack(patches))


def _patch_gaussian() -> GaussianMixture:
    """The Gaussian of 6000 patches' mean and covariance; no direction is narrower than 0.02."""
    patches = photograph_patches(6000)
    mean = patches.mean(0)
    covariance = (patches - mean).T @ (patches - mean) / len(patches)
    variances, basis = torch.linalg.eigh(covariance)
    return GaussianMixture(torch.zeros(1), mean[None], basis[None], variances.clamp_min(0.02**2)[None], 0.0)


def _line_art(width: float) -> Tiles:
    """Four by four tiles of 8x8: 240 pictures of strokes, and as many blank sheets as make a third of the tiles
    blank.
    """
    pictures, labels = drawings.line_art(240)
    blank = torch.full((120, pictures.shape[1]), drawings.WHITE, dtype=torch.float64)
    points, classes = torch.cat([pictures, blank]), torch.cat([labels, torch.arange(120) % 3])
    return Tiles(KernelDensity(points, width, classes), (1, 8, 8), 4, 4)


def _flat_areas() -> GaussianMixture:
    """Sixteen layouts of three shapes on 3x16x16; a shape's colour is Gaussian, the background exactly white."""
    masks = drawings.flat_areas(16)
    count, shapes = masks.shape[:2]
    generator = _generator(8)
    flat = masks.flatten(2)  # [K, shapes, 256]
    colours = 0.5 * torch.randn(count, shapes, 3, generator=generator, dtype=torch.float64)
    background = drawings.WHITE * (1 - flat.sum(1))
    means = (torch.einsum("ksp,ksc->kcp", flat, colours) + background[:, None]).flatten(1)
    bases = torch.stack([torch.block_diag(*[(m / m.norm(dim=1, keepdim=True)).T] * 3) for m in flat])
    # A unit along a mask's direction is 1/sqrt(area) in each of its pixels.
    variances = 0.3**2 * flat.sum(2).repeat(1, 3)
    return GaussianMixture(torch.full((count,), -math.log(count)), means, bases, variances, 0.0)


def _even_colour() -> GaussianMixture:
    """One colour over the whole of a 3x16x16 picture, Gaussian with deviation 0.8 in each channel."""
    bases = torch.block_diag(*[torch.full((256, 1), 1 / 16, dtype=torch.float64)] * 3)
    variances = torch.full((1, 3), 256 * 0.8**2, dtype=torch.float64)
    return GaussianMixture(torch.zeros(1), torch.zeros(1, 768, dtype=torch.float64), bases[None], variances, 0.0)


def _gratings() -> GaussianMixture:
    """Twelve plane waves on 16x16, each of Gaussian amplitude and so of any phase, with nothing else in the picture."""
    waves = drawings.gratings()
    count, dim = waves.shape[:2]
    variances = torch.full((count, 2), 0.7**2 * dim / 2, dtype=torch.float64)
    return GaussianMixture(
        torch.full((count,), -math.log(count)), torch.zeros(count, dim, dtype=torch.float64), waves, variances, 0.0
    )


def _one_grating() -> KernelDensity:
    """A single picture: the denoiser is a constant and an exponential step exact."""
    return KernelDensity(drawings.gratings(count=1)[:, :, 0] * 16 / math.sqrt(2), 0.0)


def _sphere(n: int) -> Sphere:
    """In 64 dimensions, every coordinate's deviation 1 in the mean square."""
    return Sphere(_rotations(1, 64, n, _generator(9))[0], 8.0)


# ---------------------------------------------------------------------------------------------------------------------
# The suite
# ---------------------------------------------------------------------------------------------------------------------

_PLANE, _SMALL, _COLOUR = (1, 1, 2), (1, 8, 8), (3, 16, 16)


def _digits(width: float) -> KernelDensity:
    return KernelDensity(digit_images()[0], width, digit_images()[1])


_BUILDERS: dict[str, Callable[[], Problem]] = {}


def _add(
    name: str, shape: tuple[int, ...], build: Callable[[], Distribution], note: str, *groups: str, **options: Any
) -> None:
    _BUILDERS[name] = lambda: Problem(name, shape, build(), note, groups, **options)


_add("gaussian-axis", _SMALL, _axis_gaussian, "one Gaussian, deviations 0.02 to 2 along the pixels", "gaussian")
_add("gaussian-rotated", _SMALL, _rotated_gaussian, "one Gaussian, deviations 0.02 to 2 along random axes", "gaussian")
_add(
    "gaussian-patches",
    _COLOUR,
    _patch_gaussian,
    "one Gaussian with the covariance of photograph patches",
    "gaussian",
    "image",
)
_add("spiral-0.10", _PLANE, lambda: _spiral(0.10), "spiral in the plane, width 0.1", "plane", samples=64)
_add("spiral-0.05", _PLANE, lambda: _spiral(0.05), "spiral in the plane, width 0.05", "plane", samples=64)
_add("tree-0.10", _PLANE, lambda: _tree(0.10), "forking tree in the plane, width 0.1", "plane", samples=64)
_add("tree-0.05", _PLANE, lambda: _tree(0.05), "forking tree in the plane, width 0.05", "plane", samples=64)
_add("mixture-8x8", _SMALL, _small_mixture, "ten strongly anisotropic Gaussians, 8x8", "mixture")
_add("mixture-3x16x16", _COLOUR, _smooth_mixture, "twelve smooth low-rank Gaussians with noise, 3x16x16", "mixture")
_add("digits-0.10", _SMALL, lambda: _digits(0.10), "scikit-learn's digits, width 0.1", "image")
_add("digits-0.30", _SMALL, lambda: _digits(0.30), "scikit-learn's digits, width 0.3", "image")
_add(
    "patches-0.10",
    _COLOUR,
    lambda: KernelDensity(photograph_patches(1500), 0.10),
    "1500 photograph patches, width 0.1",
    "image",
)
for _scale in (2.0, 4.0, 7.5):
    _add(
        f"digits-cfg-{_scale:g}",
        _SMALL,
        lambda: _digits(0.30),
        f"digits by class, width 0.3, CFG {_scale:g}",
        "image",
        "cfg",
        cfg=_scale,
    )
for _scale in (2.0, 4.0, 7.5):
    _add(
        f"mixture-cfg-{_scale:g}",
        _SMALL,
        _small_mixture,
        f"the ten Gaussians by class, CFG {_scale:g}",
        "mixture",
        "cfg",
        cfg=_scale,
    )
_add(
    "gaussian-round",
    _SMALL,
    _round_gaussian,
    "one Gaussian, deviation 0.7 everywhere: a check, in no mean",
    "gaussian",
    "exact",
)

_PAGE = (1, 32, 32)
_add(
    "flat-areas",
    _COLOUR,
    _flat_areas,
    "flat shapes of random colours on exactly white paper",
    "flat",
    "image",
    samples=16,
)
_add("even-colour", _COLOUR, _even_colour, "one random colour over the whole picture", "flat", samples=16)
_add(
    "even-colour-bf16",
    _COLOUR,
    _even_colour,
    "the same, the model rounded to bfloat16",
    "flat",
    "rounded",
    samples=16,
    rounded=True,
)
_add("gratings", (1, 16, 16), _gratings, "one of twelve plane waves, of any amplitude and phase", "flat", "mixture")
_add(
    "grating", (1, 16, 16), _one_grating, "a single picture, where plain steps are exact: a check, in no mean", "exact"
)
_add(
    "line-art",
    _PAGE,
    lambda: _line_art(0.0),
    "tiles of binary strokes on exactly white paper",
    "edges",
    "image",
    samples=8,
    min_steps=1600,
)
_add("line-art-0.02", _PAGE, lambda: _line_art(0.02), "the same with noise of 0.02", "edges", "image", samples=8)
for _scale in (4.0, 7.5):
    _note = f"line art by class, width 0.02, CFG {_scale:g}"
    _add(
        f"line-art-cfg-{_scale:g}",
        _PAGE,
        lambda: _line_art(0.02),
        _note,
        "edges",
        "image",
        "cfg",
        cfg=_scale,
        samples=8,
    )
_add(
    "line-art-negative", _PAGE, lambda: _line_art(0.02), "line art, CFG 4 away from another class", "edges", "image",
    "cfg",
    cfg=4.0, samples=8, negative=True,
)  # fmt: skip
_add(
    "line-art-interval", _PAGE, lambda: _line_art(0.0), "line art, width 0, CFG 7.5 between sigma/alpha 0.5 and 5",
    "edges", "image", "cfg",
    cfg=7.5, samples=4, interval=(0.5, 5.0), min_steps=3200,
)  # fmt: skip
_add(
    "digits-negative", _SMALL, lambda: _digits(0.30), "digits, width 0.3, CFG 4 away from another class", "image",
    "cfg",
    cfg=4.0, negative=True,
)  # fmt: skip
_add(
    "digits-interval", _SMALL, lambda: _digits(0.10), "digits, width 0.1, CFG 7.5 between sigma/alpha 0.5 and 5",
    "image", "cfg",
    cfg=7.5, interval=(0.5, 5.0),
)  # fmt: skip
_add(
    "digits-bf16",
    _SMALL,
    lambda: _digits(0.30),
    "digits, width 0.3, the model rounded to bfloat16",
    "image",
    "rounded",
    rounded=True,
)
_add("sphere-64", _SMALL, lambda: _sphere(64), "uniform on a sphere in 64 dimensions", "manifold")
_add("sphere-3", _SMALL, lambda: _sphere(3), "uniform on a sphere in 3 of 64 dimensions", "manifold")

NAMES = tuple(_BUILDERS)
QUICK_NAMES = ("gaussian-rotated", "spiral-0.10", "mixture-8x8", "digits-0.30", "digits-cfg-4")


@cache
def problem(name: str) -> Problem:
    """One problem by name. Raises ValueError for an unknown one."""
    if name not in _BUILDERS:
        raise ValueError(f"There is no problem {name!r}: the suite has {', '.join(NAMES)}.")
    return _BUILDERS[name]()


def suite() -> list[Problem]:
    """All problems."""
    return [problem(name) for name in NAMES]


def quick_suite() -> list[Problem]:
    """One of each kind, cheap."""
    return [problem(name) for name in QUICK_NAMES]
