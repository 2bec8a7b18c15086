"""Draws pictures with exactly uniform areas and hard edges, for problems of bench/instruments/problems.py.

Values are -1 for black and 1 for white. Nothing is smoothed: ink is black and paper is white to the last bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WHITE, BLACK = 1.0, -1.0


def _places(side: int) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel's centre, [side, side] each."""
    centre = torch.arange(side, dtype=torch.float64)
    return torch.meshgrid(centre, centre, indexing="ij")


def _near_segment(side: int, start: Tensor, end: Tensor, reach: float) -> Tensor:
    """Pixels within ``reach`` of the segment from start to end ([2] each), [side, side] bool."""
    y, x = _places(side)
    along = end - start
    share = ((y - start[0]) * along[0] + (x - start[1]) * along[1]) / along.square().sum().clamp_min(1e-9)
    share = share.clamp(0, 1)
    return (y - start[0] - share * along[0]).hypot(x - start[1] - share * along[1]) <= reach


def line_art(count: int, side: int = 8, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Binary pictures of black strokes on white paper. No two are equal.

    Returns pictures [count, side * side] and their classes [count]: 0 straight strokes, 1 circles, 2 corners.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    drawn: dict[bytes, tuple[Tensor, int]] = {}
    while len(drawn) < count:
        label = len(drawn) % 3
        points = uniform(0.0, side - 1.0, 3, 2)
        if label == 0:
            ink = _near_segment(side, points[0], points[1], 0.6)
        elif label == 1:
            y, x = _places(side)
            radius = uniform(1.2, side / 2 - 0.5)
            ink = ((y - points[0, 0]).hypot(x - points[0, 1]) - radius).abs() <= 0.5
        else:
            ink = _near_segment(side, points[0], points[1], 0.6) | _near_segment(side, points[1], points[2], 0.6)
        # At least four pixels: smaller ones are dots, whatever drew them.
        if int(ink.sum()) >= 4:
            drawn.setdefault(ink.numpy().tobytes(), (torch.where(ink, BLACK, WHITE).double().flatten(), label))
    pictures, labels = zip(*drawn.values(), strict=True)
    return torch.stack(pictures), torch.tensor(labels)


def flat_areas(layouts: int, side: int = 16, shapes: int = 3, seed: int = 6) -> Tensor:
    """Areas of one colour each: ``shapes`` rectangles and discs on a background.

    Returns masks [layouts, shapes, side, side] of 0 and 1. Those of one layout do not overlap, and none is empty.
    """
    generator = torch.Generator().manual_seed(seed)
    y, x = _places(side)
    made = []
    while len(made) < layouts:
        masks = torch.zeros(shapes, side, side, dtype=torch.float64)
        for i in range(shapes):
            top, left = (1 + (side - 6) * torch.rand(2, generator=generator, dtype=torch.float64)).tolist()
            height, width = (3 + 5 * torch.rand(2, generator=generator, dtype=torch.float64)).tolist()
            if torch.rand((), generator=generator) < 0.5:
                inside = (
                    (y >= top) & (y < min(top + height, side - 1)) & (x >= left) & (x < min(left + width, side - 1))
                )
            else:
                inside = (y - top - height / 2).hypot(x - left - height / 2) <= height / 2
            masks *= ~inside  # the later shape lies on top
            masks[i] = inside.double()
        if bool((masks.sum((1, 2)) >= 4).all()):
            made.append(masks)
    return torch.stack(made)


def gratings(side: int = 16, count: int = 12, seed: int = 7) -> Tensor:
    """Plane waves with whole numbers of periods: an orthonormal cosine and sine of each, [count, side * side, 2]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = _places(side)
    known = [(a, b) for a in range(side // 2) for b in range(-side // 2 + 1, side // 2) if a > 0 or b > 0]
    chosen = [known[i] for i in torch.randperm(len(known), generator=generator)[:count].tolist()]
    waves = []
    for a, b in chosen:
        phase = 2 * math.pi / side * (a * y + b * x)
        waves.append(torch.stack([phase.cos().flatten(), phase.sin().flatten()], dim=1) * math.sqrt(2) / side)
    return torch.stack(waves)
