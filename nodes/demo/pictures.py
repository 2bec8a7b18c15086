"""Pictures whose distribution, and so whose denoiser, is known exactly. This module needs only torch.

A picture is a mosaic of square tiles, and every tile is drawn independently. A tile is one of its class's
designs, tinted by two Gaussian amounts, plus a little Gaussian texture. The pipes of a design join at the
middle of each edge, so that any two tiles fit together.

    tile = mean_j + sum_r z_r * tint_jr + w * n,        z_r ~ N(0, t_r), n ~ N(0, I)

This is a Gaussian mixture with low-rank covariances. Its posterior mean has a closed form. The posterior
mean of a mosaic consists of those of its tiles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TILE = 32
"""Side of a tile in pixels. A picture consists of whole tiles."""

TEXTURE = 0.02
"""Standard deviation w of the texture, in units where black is -1 and white is 1."""

# name: (background, pipe) in 0..1 RGB
_PALETTES = {
    "arcs": ((0.06, 0.13, 0.25), (0.98, 0.72, 0.25)),
    "weave": ((0.16, 0.05, 0.12), (0.93, 0.36, 0.38)),
    "beads": ((0.93, 0.90, 0.82), (0.10, 0.48, 0.50)),
    "circuit": ((0.05, 0.20, 0.15), (0.60, 0.87, 0.45)),
}
CLASSES = tuple(_PALETTES)
_HALF_WIDTH = 0.15


class TileMixture(nn.Module):
    """The distribution: its parameters, exact samples, and its exact denoiser.

    There are J designs in C classes, and D = 3 * TILE^2. The parameters are means [J, D], tints [J, R, D] with
    orthonormal rows, their tint_variance [J, R], and membership [C, J]. The last is the share of each design in
    each class (rows sum to 1). They are parameters and not buffers, because ComfyUI moves only parameters to the
    device.
    """

    means: nn.Parameter
    tints: nn.Parameter
    tint_variance: nn.Parameter
    membership: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        drawn = [_draw_class(name) for name in CLASSES]
        shares = [torch.full((1, len(means)), 1 / len(means)) for means, _, _ in drawn]
        for name, value in (
            ("means", torch.cat([means for means, _, _ in drawn])),
            ("tints", torch.cat([tints for _, tints, _ in drawn])),
            ("tint_variance", torch.cat([variance for _, _, variance in drawn])),
            ("membership", torch.block_diag(*shares)),
        ):
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))

    @property
    def dtype(self) -> torch.dtype:
        return self.means.dtype

    def denoise(self, x: Tensor, sigma: Tensor, alpha: Tensor, class_weights: Tensor) -> Tensor:
        """E[picture | x = alpha * picture + sigma * noise].

        x [B, 3, H, W] with sides divisible by TILE, sigma and alpha [B], class_weights [B, C]
        (negative ones count as zero; all zero means every class equally). Returns [B, 3, H, W].
        """
        tiles = _to_tiles(x)  # [B, T, D]
        alpha, sigma = alpha.view(-1, 1, 1), sigma.view(-1, 1, 1)
        means, tints = self.means, self.tints.flatten(0, 1)
        tint_count = self.tints.shape[1]

        # Variances of x: v away from the tints, v_tint along them [B, 1, J * R].
        data_tint = (self.tint_variance.flatten() + TEXTURE**2).view(1, 1, -1)
        v = alpha**2 * TEXTURE**2 + sigma**2
        v_tint = alpha**2 * data_tint + sigma**2

        # <tint, x - alpha mean> [B, T, J * R]
        along = tiles @ tints.T - alpha * (means[:, None] * self.tints).sum(-1).flatten()
        # log N(x; alpha m_j, cov_j), without the terms that all designs share
        distance = alpha**2 * (means**2).sum(-1) - 2 * alpha * (tiles @ means.T)
        tint_terms = along**2 * (1 / v_tint - 1 / v) + torch.log(v_tint / v)
        log_likelihood = -0.5 * (distance / v + tint_terms.unflatten(-1, (-1, tint_count)).sum(-1))

        weights = class_weights.to(x.dtype).clamp(min=0)
        weights = torch.where(weights.sum(-1, keepdim=True) > 0, weights, 1.0)
        prior = (weights @ self.membership).log().unsqueeze(1)
        responsibility = torch.softmax(log_likelihood + prior, dim=-1)  # [B, T, J]

        gain, gain_tint = alpha * TEXTURE**2 / v, alpha * data_tint / v_tint
        amount = responsibility.repeat_interleave(tint_count, dim=-1) * (gain_tint - gain) * along
        denoised = gain * tiles + (1 - gain * alpha) * (responsibility @ means) + amount @ tints
        return _from_tiles(denoised, x.shape)

    def sample(self, class_index: int, rows: int, columns: int, generator: torch.Generator) -> Tensor:
        """An exact sample of one class, [1, 3, rows * TILE, columns * TILE]."""
        design = torch.multinomial(self.membership[class_index], rows * columns, replacement=True, generator=generator)
        variance = self.tint_variance[design]
        amount = torch.randn(variance.shape, generator=generator) * variance.sqrt()
        tiles = self.means[design] + (amount[..., None] * self.tints[design]).sum(1)
        tiles = tiles + TEXTURE * torch.randn(tiles.shape, generator=generator)
        return _from_tiles(tiles[None], torch.Size((1, 3, rows * TILE, columns * TILE)))


def _to_tiles(x: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, tiles, 3 * TILE^2]"""
    tiles = x.unflatten(3, (-1, TILE)).unflatten(2, (-1, TILE))  # [B, 3, rows, TILE, columns, TILE]
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _from_tiles(tiles: Tensor, shape: torch.Size) -> Tensor:
    rows, columns = shape[2] // TILE, shape[3] // TILE
    tiles = tiles.view(shape[0], rows, columns, 3, TILE, TILE)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(shape)


def _draw_class(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Means [M, D], tints [M, R, D] and tint variances [M, R] of a class."""
    background, pipe = (torch.tensor(color).view(3, 1, 1) for color in _PALETTES[name])
    means, tints, variances = [], [], []
    for layers in _designs(name):
        ground = 0.06 * torch.cos(math.pi * _GRID[0]) * torch.cos(math.pi * _GRID[1])
        color = background * (1 + ground)
        covered = torch.zeros(TILE, TILE)
        for distance in layers:
            color, coverage = _lay_pipe(color, distance, pipe)
            covered = torch.maximum(covered, coverage)
        mean = (2 * color - 1).clamp(-1, 1)
        # There are two tints: the first makes pipes brighter or darker, the second makes the ground warmer or cooler.
        directions = torch.stack(
            [
                (covered * (0.25 * color + 0.05)).flatten(),
                ((1 - covered) * torch.tensor((0.07, 0.01, -0.06)).view(3, 1, 1)).expand(3, TILE, TILE).flatten(),
            ]
        )
        # They overlap where edges are blended, but the denoiser needs them orthogonal.
        directions[1] -= (directions[0] @ directions[1]) / directions[0].square().sum() * directions[0]
        lengths = directions.norm(dim=1)
        means.append(mean.flatten())
        tints.append(directions / lengths[:, None])
        variances.append(lengths**2)
    return torch.stack(means), torch.stack(tints), torch.stack(variances)


def _pixel_grid() -> Tensor:
    """Pixel centres, (y, x) in -0.5 .. 0.5, [2, TILE, TILE]."""
    axis = (torch.arange(TILE) + 0.5) / TILE - 0.5
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))


_GRID = _pixel_grid()


def _lay_pipe(color: Tensor, distance: Tensor, pipe: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a round pipe with a soft shadow over the picture. distance is the distance to its middle line."""
    edge = distance - _HALF_WIDTH
    shadow = 0.45 * torch.exp(-((edge.clamp(min=0) / 0.06) ** 2))
    coverage = (0.5 - edge * TILE).clamp(0, 1)
    height = (1 - (distance / _HALF_WIDTH) ** 2).clamp(min=0).sqrt()
    lit = pipe * (0.45 + 0.55 * height) + 0.22 * height**6
    return color * (1 - shadow) * (1 - coverage) + lit * coverage, coverage


def _arc(corner_y: float, corner_x: float) -> Tensor:
    """Distance to the quarter circle around a corner that joins the middles of two edges."""
    return ((_GRID[0] - corner_y).square() + (_GRID[1] - corner_x).square()).sqrt().sub(0.5).abs()


def _line(axis: int) -> Tensor:
    """Distance to the straight line through the middle; axis 0 runs across, 1 runs down."""
    return _GRID[axis].abs()


def _stub(dy: int, dx: int, length: float) -> Tensor:
    """Distance to a stub that starts at the middle of an edge and has a round end."""
    along, across = (_GRID[0] * dy, _GRID[1]) if dy else (_GRID[1] * dx, _GRID[0])
    return torch.hypot((0.5 - length - along).clamp(min=0), across)


def _bead(radius: float) -> Tensor:
    """Distance that gives a disc of this radius in the middle, after the half width is subtracted."""
    return (torch.hypot(*_GRID) - radius + _HALF_WIDTH).clamp(min=0)


def _designs(name: str) -> list[list[Tensor]]:
    """Each design as a list of layers, bottom first."""
    stubs = [_stub(1, 0, 0.1), _stub(-1, 0, 0.1), _stub(0, 1, 0.1), _stub(0, -1, 0.1)]
    if name == "arcs":
        return [[_arc(-0.5, -0.5), _arc(0.5, 0.5)], [_arc(-0.5, 0.5), _arc(0.5, -0.5)]]
    if name == "weave":
        return [[_line(0), _line(1)], [_line(1), _line(0)]]
    if name == "beads":
        return [[*stubs, _bead(0.26)], [_line(0), *stubs[:2]], [_line(1), *stubs[2:]], stubs]
    if name == "circuit":
        return [
            [torch.minimum(_line(0), _line(1))],
            [_arc(-0.5, -0.5), _stub(1, 0, 0.1), _stub(0, 1, 0.1)],
            [_arc(0.5, 0.5), _stub(-1, 0, 0.1), _stub(0, -1, 0.1)],
            [_arc(-0.5, 0.5), _stub(1, 0, 0.1), _stub(0, -1, 0.1)],
            [_arc(0.5, -0.5), _stub(-1, 0, 0.1), _stub(0, 1, 0.1)],
        ]
    raise AssertionError(name)
