r"""The calibrated rule: what the solver itself gets wrong on a local Gaussian model is added back.

No strength, no threshold. The derivation, in the coordinates \bar x = x/alpha, s = sigma/alpha, in which
every model's ODE reads d\bar x/ds = eps with the noise estimate eps = (x - alpha D)/sigma:

1.  Take the data along one coefficient of an orthonormal transform for Gaussian with variance S^2.
    Then eps = s (\bar x - mean)/(S^2 + s^2) and an exact solution moves as \bar x - mean ~ sqrt(S^2 + s^2).
    Everything follows from u = s^2/(S^2 + s^2), the fraction of the coefficient that is noise.

2.  Two evaluations A and B with q = eps_A/eps_B and r = s_A/s_B tell u at A, exactly on the model:

        A reached from B by an Euler step           u = (q - r)/(1 - r)
        A and B on one solution                     u = (q^2 - r^2)/(1 - r^2)

    The first stage of every Runge-Kutta step is reached by an Euler step; a multistep solver's
    evaluations lie on one solution. (At s_B = infinity, where flow models start, r is 0.)

3.  The solver's own step, history included, is run on that scalar problem. Started on the exact
    solution std(sigma) = sqrt(alpha^2 S^2 + sigma^2) it ends at y instead of std(sigma_next), so

        c(u) = (std(sigma_next) - y)/eps_model,        x_next += c(u) eps

    for each coefficient. This holds for the last step to sigma = 0 too, where std is S.

4.  What could not be known when a step was made is corrected in hindsight, before the next one starts: a
    multistep solver's first Euler step, and the state that a predictor-corrector makes anew once it has
    been evaluated. D follows the corrected state with its derivative on the model, dD/dx = (1 - u)/alpha.

Where all coefficients share one variance this is exact as far as the bounds below allow; where they
differ, pooling and the shares that are held back make it an approximation.

A single coefficient is a noisy witness of its variance, so its q is pooled with that of its band
(:mod:`erk.spectrum`), and what is left unexplained, measured by the coherence of eps_A and eps_B in
the band, shrinks the correction. A trust region bounds its size by the noise that the step takes away.
A band knows frequencies and not places: where a part of the picture is blank, what the last step adds
would be noise, and no later step could take it away. So there u is also read from each place's
neighbourhood, and the correction is held back where that calls for less than the whole picture does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..embedded_pair import norm, per_sample
from ..evaluation import Evaluation
from ..noise_process import NoiseProcess
from ..solvers import Solver
from ..spectrum import Spectrum
from .base import Correction, MadeStep, Run

NOISE_FRACTION_MIN = 1e-3
"""Least u: beyond, eps hardly depends on S any more and its estimate would be of rounding errors."""

NOISE_FRACTION_EXPANDING = 0.3
"""Taken for u where the estimate is negative: there the solution runs apart between two modes of the
data, which no Gaussian does. A wide one (S = 1.5 s) is near enough, and errs on the side of caution."""

SIGNAL_TO_NOISE_MIN = 1e-3
"""Least alpha/sigma at which a pair is read: below, float32 cannot tell the data from nothing."""

POOLING = 1.0
"""How many coefficients' worth of evidence the band has against the coefficient's own."""

TRUST = 1.0
"""The correction is at most this times |sigma_next - sigma| |eps|, the noise that the step takes away."""

_NOTHING = 1e-12
"""Least 1 - u. As good as 0, of which torch takes ten times as long and more to draw the root on a CPU."""

_ROUNDING = 2.0**-23
"""float32's: a quotient this near to its bound may have been on it."""

TABLE = 1024
"""Grid intervals of the tabulated c; linear interpolation leaves an error below float32's."""


@dataclass(frozen=True)
class Calibrated:
    """The calibrated rule; see the module's text. Nothing to choose."""

    mode: ClassVar[str] = "calibrated"

    def begin(self, run: Run) -> CalibratedRule:
        return CalibratedRule(run)


class _Memory(NamedTuple):
    """What is kept of the last step: one latent and some numbers."""

    sigma: float
    sigma_next: float
    eps: Tensor  # coefficients [B, C, positions]
    euler: bool  # whether it was an Euler step
    corrected: bool
    levels: tuple[float, ...]  # of the solver's history


class _Estimate(NamedTuple):
    """The noise fraction and how far it can be trusted.

    signal      1 - u = S^2/(S^2 + s^2) at ``sigma``, [B, C, positions]
    coherence   squared correlation of the two noise estimates in each band, [B, C, bands]
    data_std    S of the whole sample, [B]; NaN where u is not between 0 and 1; None if nobody looks on
    valid       share of the evidence whose u lies between 0 and 1, [B]; None if nobody looks on
    sigma       noise level at which u is meant
    pair        the coefficients of eps_A and eps_B it was read from
    r, euler    s_A/s_B, and whether A was reached from B by an Euler step
    """

    signal: Tensor
    coherence: Tensor
    data_std: Tensor | None
    valid: Tensor | None
    sigma: float
    pair: tuple[Tensor, Tensor]
    r: float
    euler: bool


class CalibratedRule:
    """The rule on one run: it looks back one step."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spectrum: Spectrum | None = None
        self._last: _Memory | None = None
        # Of the step under way, from revise to correct:
        self._eps: Tensor | None = None
        self._behind: _Estimate | None = None
        self._placed: tuple[_Estimate, _Places] | None = None

    def revise(self, evaluated: Evaluation, current: Evaluation) -> Evaluation:
        """Correct in hindsight where this evaluation is what was missing: an Euler step just made, for which no
        pair was known, and a state that a predictor-corrector has made anew.
        """
        if self._spectrum is None:
            self._spectrum = Spectrum(current.x)
        last = self._last
        if last is not None and last.sigma_next != current.sigma:
            last = self._last = None
        self._eps, self._behind = self._noise_estimate(evaluated), None
        anew = current is not evaluated
        if last is None or not _tells(self._run.process, current.sigma):
            if anew:
                self._eps = self._noise_estimate(current)
            return current
        if not anew and (last.corrected or not last.euler):
            return current
        self._behind = self._pair_behind(self._eps, current.sigma, last)
        return self._corrected_in_hindsight(evaluated, current, last)

    def correct(self, made: MadeStep) -> Correction:
        run, spectrum, eps, estimate = self._run, self._spectrum, self._eps, self._behind
        assert spectrum is not None and eps is not None
        current, sigma_next = made.current, made.sigma_next
        levels = tuple(point.sigma for point in made.history)
        stage = made.step.stages[0] if made.step.stages and _tells(run.process, made.step.stages[0].sigma) else None
        if stage is not None:
            estimate = self._estimate(self._noise_estimate(stage), eps, stage.sigma, current.sigma, euler=True)
        elif estimate is None and self._last is not None and _tells(run.process, current.sigma):
            estimate = self._pair_behind(eps, current.sigma, self._last)
        # Every multistep solver starts with an Euler step; so does, in effect, one whose first stage is
        # still so near to pure noise that it tells nothing new (DPM++ 2S on flow models).
        euler = stage is None and not levels
        self._last = _Memory(current.sigma, sigma_next, eps, euler, estimate is not None, levels)
        self._eps = self._behind = None
        stiffness = h_stiffness = None
        if run.observed and (pair := made.pair()) is not None:
            stiffness = pair.difference().stiffness
            h_stiffness = abs(pair.h) * stiffness
        if estimate is None:
            return Correction(stiffness=stiffness, h_stiffness=h_stiffness)

        table = _missed_by_step(run.solver, run.process, current.sigma, sigma_next, levels, estimate.sigma)
        value = _interpolate(table, self._places_of(estimate)).mul_(eps).mul_(spectrum.spread(estimate.coherence))
        self._placed = None
        if sigma_next == 0 and spectrum.has_space:
            value = self._held_back_in_blank_places(value, table, estimate)
        kept = _share_within(norm(value), TRUST * abs(sigma_next - current.sigma) * norm(eps))
        value = _scaled_(value, kept)
        correction = self._latent(value)
        size = active = None
        if run.observed:
            size = norm(value if run.region is None else correction)  # the transform keeps norms
            active = size > 0
        return Correction(
            value=correction,
            norm=size,
            active=active,
            stiffness=stiffness,
            h_stiffness=h_stiffness,
            data_std=estimate.data_std,
            valid=estimate.valid,
            kept=kept,
        )

    def _noise_estimate(self, evaluation: Evaluation) -> Tensor:
        """Coefficients of eps = (x - alpha D)/sigma, where the picture is being sampled at all."""
        alpha = self._run.process.alpha(evaluation.sigma)
        eps = evaluation.d.float()
        if alpha != 1.0:
            eps = torch.add(alpha * eps, evaluation.x, alpha=(1.0 - alpha) / evaluation.sigma)
        return self._coefficients(eps)

    def _coefficients(self, latent: Tensor) -> Tensor:
        assert self._spectrum is not None
        return self._spectrum.forward(latent if self._run.region is None else latent * self._run.region)

    def _latent(self, coefficients: Tensor) -> Tensor:
        assert self._spectrum is not None
        latent = self._spectrum.inverse(coefficients)
        return latent if self._run.region is None else latent * self._run.region

    def _corrected_in_hindsight(self, evaluated: Evaluation, current: Evaluation, last: _Memory) -> Evaluation:
        """Correct x; D follows x with its derivative on the local model, dD/dx = (1 - u)/alpha, without a model call."""
        run, behind, spectrum, eps = self._run, self._behind, self._spectrum, self._eps
        assert behind is not None and spectrum is not None and eps is not None
        certain = spectrum.spread(behind.coherence)
        if current is evaluated:
            table = _missed_by_step(run.solver, run.process, last.sigma, current.sigma, last.levels, behind.sigma)
            value = _interpolate(table, self._places_of(behind)).mul_(last.eps).mul_(certain)
        else:
            table = _missed_by_accept(run.solver, run.process, current.sigma, (last.sigma, *last.levels), last.corrected, behind.sigma)
            value = _interpolate(table, self._places_of(behind)).mul_(eps).mul_(certain)
        kept = _share_within(norm(value), TRUST * abs(current.sigma - last.sigma) * norm(last.eps))
        value = _scaled_(value, kept)
        moved = value if current is evaluated else self._coefficients(current.x - evaluated.x).add_(value)
        follows = _scaled_((moved * behind.signal).mul_(certain), (kept > 0).float())  # alpha times the change of D
        alpha, sigma = run.process.alpha(current.sigma), current.sigma
        self._eps = torch.add(eps, moved - follows, alpha=1.0 / sigma)
        del moved, certain
        drift = self._latent(follows.mul_(-1.0 / alpha).add_(value))  # times sigma
        del follows
        d = torch.add(current.d, drift, alpha=1.0 / sigma).to(current.d.dtype)
        return Evaluation(current.x + self._latent(value), sigma, d)

    def _places_of(self, estimate: _Estimate) -> _Places:
        """Worked out once, for an estimate that serves the state that a step starts from and the step itself."""
        if self._placed is None or self._placed[0] is not estimate:
            self._placed = estimate, _places(estimate.signal)
        return self._placed[1]

    def _pair_behind(self, eps: Tensor, sigma: float, last: _Memory) -> _Estimate:
        """From this step's evaluation and the last step's."""
        return self._estimate(eps, last.eps, sigma, last.sigma, euler=last.euler and not last.corrected)

    def _estimate(self, eps_a: Tensor, eps_b: Tensor, sigma_a: float, sigma_b: float, *, euler: bool) -> _Estimate:
        """u at A from the noise estimates at A and B (item 2 of the module's text)."""
        spectrum, process = self._spectrum, self._run.process
        assert spectrum is not None
        alpha_a, alpha_b = process.alpha(sigma_a), process.alpha(sigma_b)
        r = (sigma_a * alpha_b) / (alpha_a * sigma_b)

        of_square_a = spectrum.band_mean(eps_a * eps_a)
        product, square = eps_a * eps_b, eps_b * eps_b
        of_product, of_square = spectrum.band_mean(product), spectrum.band_mean(square)
        coherence = _quotient(of_product, of_square) * _quotient(of_product, of_square_a)
        q = spectrum.pool_(product, of_product, POOLING)
        q.div_(spectrum.pool_(square, of_square, POOLING))  # NaN where both are 0, and the coherence with them
        del product, square
        data_std = valid = None
        if self._run.observed:
            band_u = _noise_fraction(_quotient(of_product, of_square), r, euler)
            evidence = of_square.sum((1, 2))
            whole_u = _noise_fraction(_quotient(of_product.sum((1, 2)), evidence), r, euler)
            possible = (whole_u > 0) & (whole_u < 1)
            data_std = sigma_a / alpha_a * torch.where(possible, (1 / whole_u - 1).sqrt(), math.nan)
            valid = _quotient((((band_u > 0) & (band_u < 1)) * of_square).sum((1, 2)), evidence)
        return _Estimate(_signal_fraction(q, r, euler), coherence.clamp_(0.0, 1.0), data_std, valid, sigma_a, (eps_a, eps_b), r, euler)

    def _held_back_in_blank_places(self, value: Tensor, table: Tensor, estimate: _Estimate) -> Tensor:
        """The correction times c(u of the neighbourhood)/c(u of the picture), where that is below 1."""
        spectrum = self._spectrum
        assert spectrum is not None
        eps_a, eps_b = (spectrum.inverse(eps) for eps in estimate.pair)
        product, square = spectrum.neighbourhood_mean(eps_a * eps_b), spectrum.neighbourhood_mean(eps_b * eps_b)

        def c(product: Tensor, square: Tensor) -> Tensor:
            return _interpolate(table, _places(_signal_fraction(_quotient(product, square), estimate.r, estimate.euler)))

        whole = per_sample(c(product.flatten(1).sum(1), square.flatten(1).sum(1)), product)
        share = torch.where(whole != 0, c(product, square) / whole, 1.0).clamp_(0.0, 1.0)
        return spectrum.forward(spectrum.inverse(value) * share)


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """a/b for b >= 0, and 0 where both are."""
    return a / b.clamp(min=torch.finfo(torch.float32).tiny)


def _noise_fraction(q: Tensor, r: float, euler: bool) -> Tensor:
    """u at A from q = eps_A/eps_B and r = s_A/s_B (item 2 of the module's text)."""
    return (q - r) / (1 - r) if euler else (q * q.abs() - r * r) / (1 - r * r)


def _signal_fraction(q: Tensor, r: float, euler: bool) -> Tensor:
    """1 - u = S^2/(S^2 + s^2), for u brought into its bounds; in q's memory."""
    # Its negative, (q - 1)/(1 - r) or (q |q| - 1)/(1 - r^2), because threshold_ replaces from below: where u < 0.
    scale = 1.0 / (1.0 - r) if euler else 1.0 / (1.0 - r * r)
    negative = (q if euler else q.mul_(q.abs())).mul_(scale).sub_(scale)
    torch.nn.functional.threshold_(negative, -1.0 - _ROUNDING, NOISE_FRACTION_EXPANDING - 1.0)
    return negative.clamp_(NOISE_FRACTION_MIN - 1.0, -_NOTHING).neg_()


def _tells(process: NoiseProcess, sigma: float) -> bool:
    """Whether noise estimates at this level can tell S: 1 - u = S^2/(S^2 + s^2) must stand out from rounding."""
    return process.alpha(sigma) > SIGNAL_TO_NOISE_MIN * sigma


def _share_within(size: Tensor, limit: Tensor) -> Tensor:
    """The share of a correction of this size that lies within the limit, [B].

    A sample whose size is not finite is not corrected: what the solver keeps finite stays finite.
    """
    limit = limit + (limit - limit)  # NaN where it is infinite
    return (limit / size.clamp(min=torch.finfo(torch.float32).tiny)).clamp_(max=1.0).nan_to_num_(0.0)


def _scaled_(coefficients: Tensor, kept: Tensor) -> Tensor:
    """The share of each sample's coefficients that is kept, in place. Where none is, they may hold NaN, and NaN times 0 is NaN."""
    return coefficients.mul_(per_sample(kept, coefficients)).nan_to_num_(0.0, 0.0, 0.0)


class _Places(NamedTuple):
    """Where values lie on the grid of sqrt(1 - u): between which points, and how far from the left one."""

    left: Tensor
    fraction: Tensor


def _places(signal_fraction: Tensor) -> _Places:
    position = signal_fraction.sqrt().mul_(TABLE).nan_to_num_(0.0)
    left = position.int()
    return _Places(left, position.sub_(left))


def _interpolate(table: Tensor, at: _Places) -> Tensor:
    """The tabulated function, linear between its grid points."""
    table, left = table.to(at.left.device, non_blocking=True), at.left.flatten()
    value, right = table.index_select(0, left), table[1:].index_select(0, left)
    return value.lerp_(right, at.fraction.flatten()).view_as(at.fraction)


# The correction depends on the sample through u alone, so the solver is run once on a grid of scalar problems instead of on
# every coefficient; on the host, where float64 leaves the difference of two nearly equal numbers its digits.


class _ScalarProblems:
    """The local model for a grid of sqrt(1 - u) from 0 to 1, u being meant at ``sigma_u``."""

    def __init__(self, process: NoiseProcess, sigma_u: float) -> None:
        root = torch.linspace(0, 1, TABLE + 1, dtype=torch.float64, device="cpu").clamp(max=math.sqrt(1 - NOISE_FRACTION_MIN / 4))
        self._process = process
        self._variance = (sigma_u / process.alpha(sigma_u)) ** 2 * (root**2 / (1 - root**2))  # S^2

    def std(self, sigma: float) -> Tensor:
        """The exact solution sqrt(alpha^2 S^2 + sigma^2)."""
        return (self._process.alpha(sigma) ** 2 * self._variance + sigma**2).sqrt()

    def evaluate(self, y: Tensor, sigma: float) -> Evaluation:
        # d = y std'/std, written so that nothing cancels; alpha' is -1 on flow models and 0 else.
        slope = self._process.alpha(sigma) * (-1.0 if self._process.is_flow else 0.0)
        return Evaluation(y, sigma, y * ((slope * self._variance + sigma) / self.std(sigma) ** 2))

    def exact(self, sigma: float) -> Evaluation:
        return self.evaluate(self.std(sigma), sigma)

    def missed(self, reached: Tensor, sigma: float, told: Evaluation) -> Tensor:
        """What is missing to the exact solution at sigma, over the noise estimate eps that was told: [TABLE + 1] float32."""
        eps = told.sigma * told.x / self.std(told.sigma) ** 2
        return ((self.std(sigma) - reached) / eps).float()


@lru_cache(maxsize=1024)
def _missed_by_step(
    solver: Solver, process: NoiseProcess, sigma: float, sigma_next: float, levels: tuple[float, ...], sigma_u: float
) -> Tensor:
    """c of a step from sigma to sigma_next with exact evaluations at ``levels`` behind it, as a function of sqrt(1 - u)."""
    problems = _ScalarProblems(process, sigma_u)
    current, history = problems.exact(sigma), [problems.exact(level) for level in levels]
    return problems.missed(solver.step(problems.evaluate, current, sigma_next, history).x_next, sigma_next, current)


@lru_cache(maxsize=1024)
def _missed_by_accept(
    solver: Solver, process: NoiseProcess, sigma: float, levels: tuple[float, ...], corrected: bool, sigma_u: float
) -> Tensor:
    """The same for the state that the solver makes anew at sigma, when what it predicted there has been evaluated.

    levels     the noise levels behind, the last step's first
    corrected  whether the prediction has been corrected, and is on the exact solution
    """
    problems = _ScalarProblems(process, sigma_u)
    history = [problems.exact(level) for level in levels]
    told = problems.exact(sigma)
    if not corrected:
        told = problems.evaluate(solver.step(problems.evaluate, history[0], sigma, history[1:]).x_next, sigma)
    return problems.missed(solver.accept(told, history[: solver.memory]).x, sigma, told)
