"""The noise fraction u of each band, read from two noise estimates (items 2 and 4 of the package's text)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...noise_process import NoiseProcess
from .quotient import Quotients
from .spectrum import Spectrum

SIGNAL_TO_NOISE_MIN = 1e-3
"""Smallest alpha/sigma at which a pair is read. Below it, float32 cannot resolve the data."""


class Estimate(NamedTuple):
    """How much of each band is noise.

    quotients  those of the pair that it was read from
    eps        coefficients of the pair's noise estimates, at A and at B
    means      of eps_A eps_B, eps_A^2 and eps_B^2 in each band, [3, rows, bands]
    places     where the bands are in a plane of claims, as :meth:`Quotients.read` says, [rows, bands, 2]
    data_std   S of the whole sample, [B]; NaN where u is not between 0 and 1; None if the run is not observed
    valid      share of the evidence whose u is between 0 and 1, [B]; None if the run is not observed
    """

    quotients: Quotients
    eps: tuple[Tensor, Tensor]
    means: Tensor
    places: Tensor
    data_std: Tensor | None
    valid: Tensor | None

    def without_chance(self, numbers: Tensor) -> Estimate:
        """The same, but all noise in bands of so many numbers, [bands], where chance may explain what is not."""
        product, square_a, square_b = self.means
        by_chance = self.quotients.may_be_chance(product, square_a, square_b, numbers)
        places = self.places.clone()
        places[..., 0].masked_fill_(by_chance, 1.0)
        return self._replace(places=places)


def is_readable(process: NoiseProcess, sigma: float) -> bool:
    """Whether noise estimates at this level can reveal S: 1 - u = S^2/(S^2 + s^2) must exceed rounding errors."""
    return process.alpha(sigma) > SIGNAL_TO_NOISE_MIN * sigma


def estimate(
    spectrum: Spectrum, process: NoiseProcess, eps_a: Tensor, eps_b: Tensor, quotients: Quotients, observed: bool
) -> Estimate:
    """Estimate u from the coefficients of the noise estimates at A and B."""
    sums = eps_a.new_empty((3, *eps_a.shape[:-1]))
    for piece in spectrum.pieces:
        torch.sum(eps_a[piece] * eps_b[piece], dim=-1, out=sums[0, piece])
        torch.linalg.vector_norm(eps_a[piece], dim=-1, out=sums[1, piece])
        torch.linalg.vector_norm(eps_b[piece], dim=-1, out=sums[2, piece])
    sums[1:].square_()
    means = spectrum.band_means(sums)
    places = quotients.read(*means)
    data_std, valid = _scale(spectrum, process, means, quotients) if observed else (None, None)
    return Estimate(quotients, (eps_a, eps_b), means, places, data_std, valid)


def _scale(spectrum: Spectrum, process: NoiseProcess, means: Tensor, quotients: Quotients) -> tuple[Tensor, Tensor]:
    """S, and the share of the evidence that is possible, [B] each, from band means of eps_A eps_B and the squares."""
    of_bands = torch.stack([spectrum.by_sample(mean) for mean in means])
    of_bands = torch.cat([of_bands, of_bands.sum(-1, keepdim=True)], dim=-1)  # the whole sample's come last
    # (1 - u)/u = S^2/s^2. It is positive exactly where u is between 0 and 1, and NaN where it is not defined.
    noise, signal = quotients.of_mean(*of_bands)
    squared = signal / noise
    possible = squared > 0
    scale = quotients.sigma / process.alpha(quotients.sigma)
    data_std = scale * torch.where(possible, squared, math.nan)[:, -1].sqrt()
    square = of_bands[2]
    valid = (possible[:, :-1] * square[:, :-1]).sum(1) / square[:, -1]
    return data_std, valid.nan_to_num_(0.0)
