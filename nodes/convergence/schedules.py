"""Noise levels for a run of any length: the scheduler's own, or given ones, resampled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

Schedule = Callable[[str, int], Tensor]
"""From a sampler's name and a number of steps to noise levels, [steps + 1] float32; some schedulers of ComfyUI give
a few more or less."""

LEAST_LEVELS = 3


def scheduled(model: Any, scheduler: str) -> Schedule:
    """The levels that ComfyUI's KSampler takes: some samplers get a step more, and its last level but one dropped."""

    def levels(sampler: str, steps: int) -> Tensor:
        kind = comfy.samplers.KSampler(
            model, steps=steps, device=torch.device("cpu"), sampler=sampler, scheduler=scheduler, denoise=1.0,
            model_options=model.model_options,
        )  # fmt: skip
        return kind.sigmas.float().cpu()

    return levels


def given(sigmas: Tensor) -> Schedule:
    """Given levels, for any number of steps: :func:`resample`. Raises ValueError for levels that cannot be."""
    levels = check_levels(sigmas)
    return lambda sampler, steps: torch.tensor(resample(levels, steps))


def given_to_the_end(sigmas: Tensor) -> Schedule:
    """As :func:`given`, and the last step to 0 is divided like the others: for the run that all are measured by."""
    levels = check_levels(sigmas)
    return lambda sampler, steps: torch.tensor(_resample_to_the_end(levels, steps))


def check_levels(sigmas: Tensor) -> list[float]:
    """The levels as floats. Raises ValueError unless there are three or more, finite, falling, and not negative."""
    levels = [float(level) for level in sigmas.flatten()]
    way_out = "connect what a scheduler node gives, or nothing to use the input scheduler"
    if len(levels) < LEAST_LEVELS:
        raise ValueError(
            f"ERK-Guid: sigmas has {len(levels)} noise levels, but must have {LEAST_LEVELS} or more: {way_out}."
        )
    for level, following in itertools.pairwise(levels):
        if not (math.isfinite(level) and level > following >= 0):
            raise ValueError(
                f"ERK-Guid: sigmas goes from {level:g} to {following:g}, but noise levels must be finite and fall: "
                f"{way_out}."
            )
    return levels


def resample(levels: list[float], steps: int) -> list[float]:
    """As many steps over the same range: log sigma is interpolated over the level's number.

    The first level, the last one above 0, and a 0 at the end stay. Returns steps + 1 levels.
    """
    positive = [level for level in levels if level > 0]
    ends_at_0 = levels[-1] == 0
    count = steps if ends_at_0 else steps + 1
    if count == 1:
        return [positive[0], *([0.0] if ends_at_0 else [])]
    places = [i * (len(positive) - 1) / (count - 1) for i in range(count)]
    return [*(_at(positive, place) for place in places), *([0.0] if ends_at_0 else [])]


def _resample_to_the_end(levels: list[float], steps: int) -> list[float]:
    """The steps spread evenly over all intervals; in the last one, down to 0, sigma itself falls evenly."""
    if levels[-1] > 0:
        return resample(levels, steps)
    last = len(levels) - 2
    places = [i * (last + 1) / steps for i in range(steps)]
    inner = [_at(levels[:-1], place) if place <= last else levels[last] * (last + 1 - place) for place in places]
    return [*inner, 0.0]


def _at(levels: list[float], place: float) -> float:
    low = min(int(place), len(levels) - 1)
    part = place - low
    if part < 1e-9 or low + 1 >= len(levels):
        return levels[low]
    return math.exp((1 - part) * math.log(levels[low]) + part * math.log(levels[low + 1]))
