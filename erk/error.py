r"""How wrong a solver's steps were, judged afterwards, and what that leaves in the finished picture.

In the coordinates \bar x = x/alpha, s = sigma/alpha: two evaluations after a step its exact end is known to one order
more than any step can, from D interpolated through both and the step's own start. What the step missed is

    e = (t/s) x_s - t * integral of D/sigma^2 - x_t

From there on an error fades at the rate 1 - J in log s, where J is the share of it that D answers. Where the data is
Gaussian with the scale S, J = S^2/(S^2 + s^2), and D changes by dD/dlog s ~ s^2/(S^2 + s^2)^(3/2): the exponent of that
change in s is 3 J - 1. So the run itself tells J, of just those details that D is settling at s, from how fast its
change grows. A run's error is the sum over its steps of what is left of |e|, over the picture's contrast: the deviation
of the numbers of D. What the solver is, and whether its steps were corrected, does not matter: only the run's states
and evaluations are looked at.

No evaluation follows the last step. D goes on as a power of s between the two that smooth and rough data have.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .evaluation import Evaluation
from .noise_process import NoiseProcess
from .probe import probe
from .repeats import Repeats
from .solvers.multistep import data_weights

_LAST_POWER = 1.5
"""D - D(0) goes as this power of s below the last evaluation. Smooth data has 2, edges have 1."""

_NO_SIGNAL = 1e-3
"""An alpha this small is as good as 0."""

_RATE = 1.5
"""Power of the number of steps with which errors fall, at most."""

_PROBED = 4096
"""How many numbers of a latent are looked at, at most."""

FEWEST = 4
"""Steps that a run must have: two or three long ones say nothing of one another."""


class _Seen(NamedTuple):
    """An evaluation that a step started from, of probes [B, n]."""

    step: int
    sigma: float
    x: Tensor
    denoised: Tensor


class _Judged(NamedTuple):
    """What a step has missed.

    level     log s at its end
    error     [B], over the contrast
    answered  J there, [B]
    """

    step: int
    level: float
    error: Tensor
    answered: Tensor


class StepErrors:
    """Of one run. Along a schedule that does not fall, nothing is judged.

    region  where the picture is being sampled at all (1) and where it is kept (0), broadcastable to x
    """

    def __init__(self, process: NoiseProcess, schedule: list[float], region: Tensor | None) -> None:
        self._process, self._region = process, region
        self._falls = all(low <= high for high, low in itertools.pairwise(schedule))
        self._steps = len(schedule) - 1
        self._seen: list[_Seen] = []
        self._looked = 0
        self._judged: list[_Judged] = []
        self._repeats = Repeats()
        self._repeated: Tensor | None = None
        self._mask: Tensor | None = None

    def look(self, index: int, accepted: Evaluation) -> None:
        """At what step ``index`` starts from."""
        sigma = accepted.sigma
        if not self._falls or sigma <= 0 or (self._seen and self._seen[-1].sigma == sigma):
            return  # a step of length zero has no error
        if self._region is not None and self._mask is None:
            self._mask = probe(self._region.expand_as(accepted.x), _PROBED)
        self._repeats.look(accepted)
        repeated = self._repeats.among(1)
        self._repeated = repeated if self._repeated is None else self._repeated | repeated
        x = probe(accepted.x, _PROBED)
        seen = _Seen(index, sigma, x, x - sigma * probe(accepted.d, _PROBED))
        self._seen, self._looked = [*self._seen[-2:], seen], self._looked + 1
        if len(self._seen) == 3:
            self._judge(self._seen[0], self._seen[1].x, self._seen[1].sigma, self._seen[::-1])

    def finish(self, x: Tensor, sigma: float) -> Tensor | None:
        """What each step leaves in the picture, over its contrast, [steps, B]; NaN where a step has not moved.

        x  the state at the end of the run, at level sigma

        None where nothing can be told.
        """
        if self._looked < FEWEST:
            return None
        before, last = self._seen[-2:]
        self._judge(before, last.x, last.sigma, self._seen[::-1])
        reached, end = probe(x, _PROBED), self._denoised_at(sigma)
        if sigma == 0:
            self._store(last.step, 0.0, end - reached)
        else:
            self._judge(last, reached, sigma, [_Seen(-1, sigma, reached, end), last, before])
        return self._left()

    def _left(self) -> Tensor:
        """Of all errors at the end of the run. Below the last evaluation nothing fades: nobody knows how D answers."""
        *judged, last = self._judged
        contrast = self._seen[-1].denoised.std(dim=1, correction=0).clamp(min=1e-12)
        left, lower = torch.ones_like(contrast), judged[-1]
        errors = torch.full((self._steps, len(contrast)), math.nan, device=contrast.device)
        errors[last.step] = last.error / contrast
        for one in reversed(judged):
            fading = 1 - (one.answered + lower.answered) / 2
            left, lower = left * torch.exp(fading * (lower.level - one.level)), one
            errors[one.step] = left * one.error / contrast
        # A model that gives an old answer again hides what it does not follow: nothing can be told of such a sample.
        return errors if self._repeated is None else errors.masked_fill(self._repeated, math.nan)

    def _denoised_at(self, sigma: float) -> Tensor:
        """D below the last evaluation."""
        before, last = self._seen[-2:]
        s_before, s, s_end = (self._scaled(level) ** _LAST_POWER for level in (before.sigma, last.sigma, sigma))
        return last.denoised + (last.denoised - before.denoised) * ((s - s_end) / (s_before - s))

    def _scaled(self, sigma: float) -> float:
        """sigma/alpha; where alpha is 0, as good as infinite."""
        return sigma / max(self._process.alpha(sigma), 1e-4)

    def _judge(self, start: _Seen, reached: Tensor, sigma_next: float, nodes: list[_Seen]) -> None:
        """The step from ``start`` to the state reached at sigma_next, with D through the nodes."""
        if self._process.alpha(start.sigma) > _NO_SIGNAL:
            weights = data_weights(self._process, tuple(node.sigma for node in nodes), start.sigma, sigma_next)
        else:  # s falls from infinity, where D goes as 1/s; a parabola in s would leave D's range
            nodes, weights = nodes[-2:], ((1 - sigma_next / start.sigma) / 2,) * 2
        error = (sigma_next / start.sigma) * start.x - reached
        for weight, node in zip(weights, nodes, strict=True):
            error.add_(node.denoised, alpha=weight)
        self._store(start.step, math.log(self._scaled(sigma_next)), error / self._process.alpha(sigma_next))

    def _store(self, index: int, level: float, error: Tensor) -> None:
        error = error if self._mask is None else error * self._mask
        self._judged.append(_Judged(index, level, _size(error), self._answered()))

    def _answered(self) -> Tensor:
        """J at the middle one of the last three evaluations, [B]."""
        (above, here, below), logs = self._seen, [math.log(self._scaled(seen.sigma)) for seen in self._seen]
        rate_above = _size(above.denoised - here.denoised) / (logs[0] - logs[1])
        rate_below = _size(here.denoised - below.denoised) / (logs[1] - logs[2])
        return answered(rate_above, rate_below, (logs[0] - logs[2]) / 2)


def error_at(error: float, steps: int, other: int, order: int) -> float:
    """What a run's error would be with another number of steps of the same schedule, by the solver's order.

    With as few steps as pictures are made with, an order above 1 does not show whole: there the error falls as the
    steps to the power 1.5 (bench.schedules measures it: SCHEDULES.md).
    """
    return error * (steps / other) ** min(order, _RATE)


def answered(rate_above: Tensor, rate_below: Tensor, distance: float) -> Tensor:
    """J of an error between two places, ``distance`` apart in log s, where D changes so fast in log s."""
    tiny = 1e-12
    exponent = torch.log((rate_above + tiny) / (rate_below + tiny)) / distance
    return ((1.0 + exponent) / 3.0).clamp(0.0, 1.0)


def _size(x: Tensor) -> Tensor:
    """Root mean square of each sample, [B, n] -> [B]."""
    return x.square().mean(dim=1).sqrt()
