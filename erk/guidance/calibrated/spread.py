"""How widely u is spread within a band, and the claim that suits such a spread best (item 4 of the package's text).

A claim about a band is a plane: its two factors over the mean of u and its spread. It does not depend on the sample, so
it is made on the host, once for each step of a schedule.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .quotient import LOGIT_MAX, Quotients

_WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Deviations of logit u that are tabulated. Below the first, a claim goes over to that for a single u."""

_MEANS = 16 * int(LOGIT_MAX)
"""Grid intervals from a mean of u of 1/2 to either end. The error of linear interpolation is at most 1e-3 of c."""

_COARSER = 8
"""How many times wider they are where a spread is fitted. Its effect is smoother than c."""

_SPREADS = 16
"""Grid intervals from no spread to the widest."""


class _Mixtures(NamedTuple):
    """Logit-normal distributions of u, of each mean (M) and width (W), on Z nodes. All float64 on the host.

    mean    logit of the mean of u, [M]
    logit   logit u at the nodes, [M, W, Z]
    weight  of each node, [Z]
    """

    mean: Tensor
    logit: Tensor
    weight: Tensor

    def average(self, values: Tensor) -> Tensor:
        """[M, W, Z] -> [M, W]"""
        return values @ self.weight


@lru_cache(maxsize=1)
def _mixtures() -> _Mixtures:
    nodes = _grid(5.0, 20)
    weight = torch.exp(-0.5 * nodes**2)
    weight, mean = weight / weight.sum(), _grid(LOGIT_MAX, _MEANS // _COARSER)
    around = torch.tensor(_WIDTHS, dtype=torch.float64, device="cpu")[:, None] * nodes
    wanted = torch.sigmoid(-mean.abs())[:, None]  # by symmetry, only means below 1/2 must be solved for
    low, high = wanted.logit() - 100.0, wanted.logit()
    for _ in range(60):
        middle = (low + high) / 2
        larger = torch.sigmoid(middle[..., None] + around) @ weight > wanted
        low, high = torch.where(larger, low, middle), torch.where(larger, middle, high)
    centre = torch.where(mean[:, None] > 0, -low, low)
    return _Mixtures(mean, centre[..., None] + around, weight)


def _grid(end: float, intervals: int) -> Tensor:
    """From -end to end, with as many intervals on either side of 0."""
    return torch.linspace(-end, end, 2 * intervals + 1, dtype=torch.float64, device="cpu")


def logits() -> Tensor:
    """Where :func:`plane` needs what a step misses: logit u, [u] float64 on the host."""
    return _grid(LOGIT_MAX, _MEANS)


def plane(missed: Tensor, quotients: Quotients, most: float) -> Tensor:
    """The factors of eps_A and of eps_B in the claim, [1, 2, spreads, means] float32 on the host.

    missed  c at :func:`logits`
    most    the largest c of a part of a band, so that a small part does not rule the whole
    """
    none = torch.zeros_like(missed)
    single = torch.stack([missed, none] if quotients.starts_at_a else [none, missed])
    factors, spread = _fitted(missed, quotients, most)
    change = _at_even_spreads(factors - single[:, ::_COARSER, None], spread)
    change = torch.nn.functional.interpolate(change, size=len(missed), mode="linear", align_corners=True)
    image = single[:, None] + change
    image[..., -3:] = 0.0  # where all is noise, nothing is missed; three times, so that rounding cannot lead beyond
    return image[None].float()


def _fitted(missed: Tensor, quotients: Quotients, most: float) -> tuple[Tensor, Tensor]:
    """The factors for each distribution, [2, M, W], and its spread, [M, W]."""
    mixtures = _mixtures()
    place = (mixtures.logit + LOGIT_MAX).mul_(_MEANS / LOGIT_MAX).clamp_(0, len(missed) - 1)
    left = place.long().clamp_(max=len(missed) - 2)
    c = missed[left].lerp_(missed[left + 1], place.sub_(left)).clamp_(-most, most)
    distance = quotients.distance(mixtures.logit)
    # what is missed, over eps_B, is fitted by mean + slope (distance - its mean)
    over_b = c * (1 - distance) if quotients.starts_at_a else c
    mean_distance, mean = mixtures.average(distance), mixtures.average(over_b)
    off = distance - mean_distance[..., None]
    variance = mixtures.average(off.square())
    slope = (mixtures.average(off.mul_(over_b)) / variance).nan_to_num_(0.0, 0.0, 0.0)
    slope.mul_(quotients.share_of_u)  # what else scatters q tells nothing of what is missed
    factors = torch.stack([-slope, mean + slope * (1 - mean_distance)])
    return factors, quotients.spread_of(torch.sigmoid(mixtures.mean)[:, None], mean_distance, variance)


def _at_even_spreads(change: Tensor, spread: Tensor) -> Tensor:
    """What distributions change, [2, M, W], at evenly spaced spreads, the widest first, [2, spreads, M].

    Without a spread they change nothing.
    """
    change, spread = torch.nn.functional.pad(change, (1, 0)), torch.nn.functional.pad(spread, (1, 0))
    wanted = torch.linspace(1, 0, _SPREADS + 1, dtype=torch.float64, device="cpu").repeat(len(spread), 1)
    right = torch.searchsorted(spread, wanted, right=True).clamp_(max=spread.shape[1] - 1)
    left = right - 1
    share = (wanted - spread.gather(1, left)) / (spread.gather(1, right) - spread.gather(1, left))
    below, above = (change.gather(2, at.expand(2, -1, -1)) for at in (left, right))
    return below.lerp_(above, share.nan_to_num_(1.0).clamp_(0.0, 1.0)).transpose(1, 2)


def look_up(image: Tensor, places: Tensor) -> Tensor:
    """The factors of eps_A and of eps_B in bands, [2, rows, bands], from their places as :meth:`Quotients.read` gives.

    Bilinear interpolation, by torch's own kernel on every device; grid_sample would take cuDNN's where there is one.
    """
    return torch.grid_sampler_2d(image, places[None], interpolation_mode=0, padding_mode=0, align_corners=True)[0]
