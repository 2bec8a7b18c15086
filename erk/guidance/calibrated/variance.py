r"""The calibrated rule for solvers that add noise: what a step misses is variance.

In the coordinates \bar x = x/alpha, s = sigma/alpha, with eps = (\bar x - D)/s, per band and sample:

1.  For a right denoiser and any data, the mean of eps^2 is 1 - tr Cov[x_0 | x]/(n s^2) (Bao et al. 2022,
    Analytic-DPM). So one evaluation tells w = 1 - mean eps^2, the share of a band that is still undecided: 1 - u of the
    local Gaussian model, on which it also holds that D changed since the last step, at s_p, by Delta with

        mean Delta^2 = w^2 s^2 (1 - r)/(1 - w (1 - r)),      r = (s/s_p)^2

    The first is right on average, but in a band of n numbers chance alone moves it by sqrt(2/n), which is often more
    than w. The second is steady, but the right side is convex in w: in a band with several variances, the w that solves
    it is rather too large. So the likely w is that of Delta, held within half a standard deviation of 1 - mean eps^2.
    Then all are scaled until their sum over the sample is at most half a standard deviation above what eps^2 says of
    the whole. With guidance, that is often below 0. Then nothing is known, and nothing is added.

    Noise (item 3) also falls on blank areas of a band, so for noise w is read with more caution: 1 - mean eps^2, at
    most 3 + 3 sqrt(2/n) times that of Delta. This leaves bands alone whose D no longer changes: blank areas, and
    repeated outputs. Estimates below 0 count as 0, and the others are scaled until the sum over the sample is what all
    estimates say.

2.  Run the solver's own step on that scalar problem, down to s_d, from std(s) = sqrt(S^2 + s^2) to y. It misses the
    variance

        M(w) = S^2 + s_d^2 - y^2,       for Euler's method (1 - s_d/s)^2 s^2 w

3.  Noise of that variance would be right in total, but it spreads evenly over a band, and over blank areas. What D
    will still do is more like what it has just done: D is a martingale along the reverse SDE, and Delta lies where the
    data varies. So an Euler step goes on by gamma Delta, 0 <= gamma <= 1 - s_d/s. That adds the variance

        gamma^2 <Delta, Delta> + 2 gamma (q + s_d <eps, Delta>),      q = E <D, Delta>

    where q follows from the model and from the last step's gamma, so that no mean of the data enters. This adds M of
    the likely w. What is then left of M of the other w is added as noise, times eta^2, since eta 0 means no noise.

4.  A solver with stages has seen inside its step how D changes on the ODE. There, what is missing is a multiple of
    that change. The step goes on by as much, at most once the change, and its noise stays as it is.

5.  The last step, to 0, is Euler's for every solver. It goes on like any other, and adds no noise.

Nothing is known in the first step, nor while alpha is next to 0. Those are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...evaluation import Evaluation
from ...noise_process import NoiseProcess
from ...norms import norm, per_sample
from ...repeats import Repeats, Seen
from ...solvers import Solver
from ..base import Correction, MadeStep, RunFacts
from .estimate import is_readable
from .local_model import TABLE, interpolate, missed_over_change, missed_variance
from .spectrum import Spectrum

SLACK = 3.0
"""How far the undecided share may lie above what D's last change tells, in a band of many numbers."""

CHANCE = 0.5
"""By how many standard deviations the mean of eps^2 may be off, in a band or over a sample."""

_TINY = 1e-20

Tabulated = Callable[[Solver, NoiseProcess, float, float], Tensor]
"""(solver, process, sigma, sigma_down) -> a table over 1 - u."""


class _Past(NamedTuple):
    """What is kept of the last step.

    s         its level
    denoised  coefficients of D
    gain      gamma, and q, [rows, bands]; None: nothing was added
    share     1 - s_d/s of an Euler step; None: the step was another
    stages    how many evaluations it made inside
    """

    s: float
    denoised: Tensor
    gain: tuple[Tensor, Tensor] | None
    share: float | None
    stages: int


class _Memory(NamedTuple):
    """What a run that continues this one must know."""

    past: _Past | None
    repeats: Seen


class _Seen(NamedTuple):
    """A step's start, as coefficients and band means.

    undecided  w that noise is added for, [rows, bands]
    likely     w that the step goes on for, [rows, bands]
    """

    s: float
    down: float
    eps: Tensor
    denoised: Tensor
    change: Tensor
    change_square: Tensor
    undecided: Tensor
    likely: Tensor


class VarianceRule:
    """It looks back one step."""

    def __init__(self, run: RunFacts) -> None:
        self._run = replace(run, earlier=None)
        self.pairs = run.observed
        self._scale = getattr(run.solver, "noise_scale", 1.0)
        self._eta = getattr(run.solver, "eta", 0.0)
        self._spectrum = Spectrum(run.shape, run.device)
        self._past, seen = _Memory(None, Seen()) if run.earlier is None else run.earlier.memory
        self._repeats = Repeats(seen)
        self._sampled = None if run.region is None else self._share_sampled(run.region)
        self._chance, self._chance_of_sample = self._deviations(run.shape)

    @property
    def memory(self) -> _Memory:
        return _Memory(self._past, self._repeats.seen)

    def judge(self, evaluated: Evaluation) -> None:
        """It makes no claims, but it must know of outputs that are repeated."""
        self._repeats.look(evaluated)

    def correct(self, made: MadeStep) -> Correction:
        past, self._past = self._past, None
        repeated = None if past is None else self._repeats.among(2 + past.stages)
        for stage in made.stages:
            self._repeats.look(stage)
        seen = Correction.of_pair(made.pair)
        if not is_readable(self._run.process, made.sigma):  # D is, and counts as that of pure noise
            self._past = _Past(math.inf, self._forward(made.start.denoised), None, None, len(made.stages))
            return seen
        down = made.noise.how.sigma_down if made.noise is not None else made.sigma_next
        s, s_down = self._level(made.sigma), self._level(down)
        share = None if made.stages else 1.0 - s_down / s
        denoised = self._forward(made.start.denoised)
        self._past = _Past(s, denoised, None, share, len(made.stages))
        unfinished = made.noise is None and made.sigma_next > 0  # so large an eta that the step ends at 0 already
        if past is None or repeated is None or unfinished:
            return seen
        step = self._seen(made.start, s, s_down, denoised, past, repeated)
        if share is None:
            of_stage = self._tabulated(missed_over_change, made.sigma, down, step.likely)
            change = self._forward(made.stages[0].denoised) - denoised
            return self._correction(seen, made, change * self._spectrum.spread(of_stage), None, repeated)
        both = torch.stack([step.likely, step.undecided])
        likely, missing = step.s**2 * self._tabulated(missed_variance, made.sigma, down, both)
        gamma, q, missing = self._gone_on(step, past, share, likely, missing)
        self._past = self._past._replace(gain=(gamma, q))
        std = self._deviation(made, step, missing) if made.noise is not None else None
        return self._correction(seen, made, step.change * self._spectrum.spread(gamma), std, repeated)

    # What is seen

    def _level(self, sigma: float) -> float:
        """s, in units of the data."""
        return sigma / self._run.process.alpha(sigma) * self._scale

    def _share_sampled(self, region: Tensor) -> Tensor:
        """How much of each row is sampled, [rows, 1]: what means over a band are divided by."""
        ones = torch.ones(self._run.shape, device=self._run.device) * region
        return ones.reshape(len(self._spectrum.forward(ones)), -1).square().mean(1, keepdim=True)

    def _deviations(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Of the mean of eps^2, where eps is noise: in the bands, [rows, bands] or [bands], and over a sample, [B]."""
        numbers = self._spectrum.sizes
        of_sample = torch.full((shape[0],), float(math.prod(shape[1:])), device=numbers.device)
        if self._sampled is not None:
            numbers = numbers * self._sampled
            of_sample = of_sample * self._spectrum.by_sample(self._sampled).mean(1)
        return (2 / numbers).sqrt(), (2 / of_sample).sqrt()

    def _forward(self, x: Tensor) -> Tensor:
        region = self._run.region
        return self._spectrum.forward(x.float() if region is None else x.float() * region)

    def _mean(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b>/n of each band, [rows, bands]."""
        means = self._spectrum.band_means((a * b).sum(-1))
        return means if self._sampled is None else (means / self._sampled).nan_to_num_(0.0, 0.0, 0.0)

    def _seen(
        self, start: Evaluation, s: float, s_down: float, denoised: Tensor, past: _Past, repeated: Tensor
    ) -> _Seen:
        eps, process = start.d.float(), self._run.process
        if process.is_flow:  # sigma is 1 - alpha
            eps = torch.add(start.x.float(), eps, alpha=process.alpha(start.sigma))
        eps = self._forward(eps) / self._scale
        change = denoised - past.denoised
        square, left = self._mean(change, change), 1.0 - (s / past.s) ** 2
        # the root of left w^2 + left k w - k = 0
        k = square / s**2
        of_change = 2 * k / (left * k + ((left * k) ** 2 + 4 * left * k).sqrt()).clamp(min=_TINY)
        told, whole = 1.0 - self._mean(eps, eps), self._spectrum.mean_over_bands
        off = CHANCE * self._chance
        likely = of_change.clamp(told - off, told + off).clamp_(0.0, 1.0).nan_to_num_(0.0)
        self._keep_to(whole(told) + CHANCE * self._chance_of_sample, likely, repeated)
        most = (SLACK * (1 + self._chance) * of_change).clamp_(max=1.0)
        told = told.clamp(-most, most).nan_to_num_(0.0)
        undecided = told.clamp(min=0.0)
        self._keep_to(whole(told), undecided, repeated)
        return _Seen(s, s_down, eps, denoised, change, square, undecided, likely)

    def _keep_to(self, mean: Tensor, shares: Tensor, repeated: Tensor) -> None:
        """Scale shares, [rows, bands], in place to at most this mean over a sample, [B]; 0 for repeated outputs."""
        kept = mean / self._spectrum.mean_over_bands(shares).clamp(min=_TINY)
        kept = kept.nan_to_num_(0.0).clamp_(0.0, 1.0).masked_fill_(repeated, 0.0)
        self._spectrum.by_sample(shares).mul_(kept[:, None])  # a view

    # What is missing

    def _tabulated(self, function: Tabulated, sigma: float, sigma_down: float, undecided: Tensor) -> Tensor:
        """A function of w, any shape."""
        table = function(self._run.solver, self._run.process, sigma, sigma_down)
        return interpolate(table.to(undecided.device, non_blocking=True), TABLE * undecided)

    def _gone_on(
        self, step: _Seen, past: _Past, share: float, likely: Tensor, missing: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """gamma for the variance that is likely missing, q, and what is still missing then."""
        q = step.change_square
        if past.gain is not None:
            gamma_past, q_past = past.gain
            q = q + step.undecided * gamma_past * q_past
        if past.share is not None:
            q = q + self._drift_of_mean(step, past.s, past.share)
        both = q + step.down * self._mean(step.eps, step.change)
        root = (both.square() + step.change_square * likely).clamp_(min=0.0).sqrt()
        gamma = (likely / (both + root).clamp(min=_TINY)).clamp_(0.0, share)
        added = step.change_square * gamma**2 + 2 * gamma * both
        return gamma, q, (missing - added).clamp_(min=0.0)

    def _drift_of_mean(self, step: _Seen, s_past: float, share_past: float) -> Tensor:
        """E <D_past, Delta>/n: 0 where the last step was DDPM's, for there D is a martingale.

        D_past = E[x_0 | x_past], and what a step with less noise leads to is expected elsewhere.
        """
        w = step.undecided
        left = step.s**2 * w
        left_past = left / ((1 - w) + w * (step.s / s_past) ** 2).clamp(min=1e-4)
        return left_past * (1 - w * share_past) - left

    # What is added

    def _correction(
        self, seen: Correction, made: MadeStep, going_on: Tensor, std: tuple[Tensor, float] | None, repeated: Tensor
    ) -> Correction:
        """From coefficients of what x/alpha goes on by, and the noise's deviations; None: they stay as they are."""
        alpha = self._run.process.alpha(made.sigma_next)
        coefficients = going_on.mul_(alpha)
        if std is not None and made.noise is not None:
            in_bands, plain = std
            unit = alpha * made.noise.amplitude / self._scale
            noise = self._spectrum.forward(made.noise.noise)
            coefficients.add_(noise.mul_(self._spectrum.spread((in_bands - plain) * unit)))
            if self._run.observed:
                square = self._spectrum.mean_over_bands(in_bands.square())
                seen = seen._replace(noise=unit * square.sqrt(), noise_ratio=square / max(plain, 1e-12) ** 2)
        value = self._spectrum.inverse(coefficients, in_place=True).nan_to_num_(0.0, 0.0, 0.0)
        value = value.masked_fill_(per_sample(repeated, value), 0.0)
        if self._run.region is not None:
            value = value.mul_(self._run.region)
        if not self._run.observed:
            return seen._replace(value=value)
        size = norm(value)
        return seen._replace(value=value, norm=size, active=size > 0, held=repeated.float())

    def _deviation(self, made: MadeStep, step: _Seen, missing: Tensor) -> tuple[Tensor, float]:
        """Of the noise in each band, [rows, bands], and of the plain step's, both of x/alpha."""
        plain = max(self._level(made.sigma_next) ** 2 - step.down**2, 0.0)
        more = torch.add(torch.full_like(missing, plain), missing, alpha=min(1.0, self._eta**2))
        return more.sqrt_(), plain**0.5
