"""Distributions whose denoiser is known exactly."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """A distribution over flat vectors of ``dim`` numbers. Its parts belong to classes."""

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
        condition     [B, classes] weights of the classes; a row of zeros, or None, means unconditional
        """
        ...

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples, [count, dim] float64, of all classes."""
        ...


class _Constants:
    """The tensors of a distribution, in each dtype that is requested."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors
        self._cast: dict[torch.dtype, dict[str, Tensor]] = {}

    def at(self, dtype: torch.dtype) -> dict[str, Tensor]:
        if dtype not in self._cast:
            self._cast[dtype] = {name: t if t.dtype == torch.long else t.to(dtype) for name, t in self._tensors.items()}
        return self._cast[dtype]


def _log_prior(log_weights: Tensor, labels: Tensor, condition: Tensor | None) -> Tensor:
    """Log prior of each component, given the class weights: [B, K], or [K] without a condition."""
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
        # Distances are differences of large numbers. Relative to the mean, these numbers are smaller.
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

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        chosen = self.points[torch.randint(len(self.points), (count,), generator=generator)]
        return chosen + self.width * torch.randn(chosen.shape, generator=generator, dtype=torch.float64)


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

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        c = self._constants.at(torch.float64)
        chosen = torch.multinomial(c["log_weights"].softmax(0), count, replacement=True, generator=generator)
        bases, variances = c["bases"][chosen], c["variances"][chosen]
        inside = variances.sqrt() * torch.randn(variances.shape, generator=generator, dtype=torch.float64)
        x = c["means"][chosen] + torch.einsum("ndr,nr->nd", bases, inside)
        if self.full or self.floor == 0:
            return x
        rest = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        rest = rest - torch.einsum("ndr,nr->nd", bases, torch.einsum("ndr,nd->nr", bases, rest))
        return x + math.sqrt(self.floor) * rest


class Sphere:
    """Uniform on a sphere around 0 in some of the dimensions. The others are exactly 0.

    basis   [dim, n] orthonormal, spans the sphere's n dimensions
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
        # Given x, the directions follow a von Mises-Fisher distribution with this concentration.
        share = bessel_ratio(self._order, alpha * self.radius * length / sigma**2)
        return (self.radius * share * inside / length) @ basis.T

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        basis = self._constants.at(torch.float64)["basis"]
        inside = torch.randn(count, basis.shape[1], generator=generator, dtype=torch.float64)
        return self.radius * torch.nn.functional.normalize(inside, dim=1) @ basis.T


def bessel_ratio(order: float, z: Tensor) -> Tensor:
    """I_{order+1}(z) / I_order(z) of modified Bessel functions of the first kind, z >= 0 of any shape, order > -1.

    Up to z = 500 this uses Gauss's continued fraction, from below. The influence of its starting value decays as
    exp(-levels^2 / z). Above, it uses Hankel's asymptotic series (DLMF 10.33.1 and 10.40.1). It is exact up to rounding
    for orders up to 50.
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
    """Independent squares of one distribution, side by side in a picture. They all have the same class.

    tile           distribution of one square
    shape          shape of one square, [C, h, w]
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

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        rows, columns = self._grid
        tiles = self.tile.draw(count * rows * columns, generator).view(count, rows, columns, *self._shape)
        return tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, -1)
