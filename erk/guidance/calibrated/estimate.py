"""The noise fraction u of each band, read from two noise estimates (item 2 of the package's text)."""

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
    """The noise fraction of each band.

    quotients  those of the pair it was read from
    positions  the positions of the bands' q, as in :meth:`Quotients.positions`, [rows, bands]
    data_std   S of the whole sample, [B]; NaN where u is not between 0 and 1; None if the run is not observed
    valid      share of the evidence whose u is between 0 and 1, [B]; None if the run is not observed
    """

    quotients: Quotients
    positions: Tensor
    data_std: Tensor | None
    valid: Tensor | None


def is_readable(process: NoiseProcess, sigma: float) -> bool:
    """Whether noise estimates at this level can reveal S: 1 - u = S^2/(S^2 + s^2) must exceed rounding errors."""
    return process.alpha(sigma) > SIGNAL_TO_NOISE_MIN * sigma


def estimate(
    spectrum: Spectrum, process: NoiseProcess, eps_a: Tensor, eps_b: Tensor, quotients: Quotients, observed: bool
) -> Estimate:
    """Estimate u from the coefficients of the noise estimates at A and B."""
    sums = eps_a.new_empty((2, *eps_a.shape[:-1]))
    for piece in spectrum.pieces:
        torch.sum(eps_a[piece] * eps_b[piece], dim=-1, out=sums[0, piece])
        torch.linalg.vector_norm(eps_b[piece], dim=-1, out=sums[1, piece])
    sums[1].square_()
    product, square = spectrum.band_means(sums)
    data_std, valid = _scale(spectrum, process, product, square, quotients) if observed else (None, None)
    return Estimate(quotients, quotients.positions(product, square), data_std, valid)


def _scale(
    spectrum: Spectrum, process: NoiseProcess, product: Tensor, square: Tensor, quotients: Quotients
) -> tuple[Tensor, Tensor]:
    """S, and the share of the evidence that is possible, [B] each, from band means of eps_A eps_B and eps_B^2."""
    of_bands = torch.stack([spectrum.by_sample(mean) for mean in (product, square)])
    product, square = torch.cat([of_bands, of_bands.sum(-1, keepdim=True)], dim=-1)  # the whole sample's come last
    # (1 - u)/u = S^2/s^2. It is positive exactly where u is between 0 and 1, and NaN where it is not defined.
    squared = quotients.signal_to_noise(product / square)
    possible = squared > 0
    scale = quotients.sigma / process.alpha(quotients.sigma)
    data_std = scale * torch.where(possible, squared, math.nan)[:, -1].sqrt()
    valid = (possible[:, :-1] * square[:, :-1]).sum(1) / square[:, -1]
    return data_std, valid.nan_to_num_(0.0)
