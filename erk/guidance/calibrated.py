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
from ..evaluation import Evaluation, corrected
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

_ROUNDING = 2.0**-23
"""float32's: a quotient this near to its bound may have been on it."""

TABLE = 1024
"""Grid intervals of the tabulated c; linear interpolation leaves 1e-5 of c, and 1e-3 where a flow model's first step makes it steepest."""


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
    eps: Tensor  # coefficients
    euler: bool  # whether it was an Euler step
    staged: bool  # whether its solver makes stages
    corrected: bool
    levels: tuple[float, ...]  # of the solver's history


class _Quotients(NamedTuple):
    """What the quotient q = eps_A/eps_B of a pair of noise estimates says of u at A (item 2 of the module's text).

    sigma  noise level of A
    r      s_A/s_B
    euler  whether A was reached from B by an Euler step
    """

    sigma: float
    r: float
    euler: bool

    def noise_fraction(self, q: Tensor) -> Tensor:
        """u at A."""
        return (q - self.r) / (1 - self.r) if self.euler else (q * q.abs() - self.r**2) / (1 - self.r**2)

    def signal_to_noise(self, q: Tensor) -> Tensor:
        """(1 - u)/u at A."""
        q, r = (q, self.r) if self.euler else (q * q.abs(), self.r**2)
        return (1 - q) / (q - r)

    def of(self, noise_fraction: float) -> float:
        """q where u is that."""
        if self.euler:
            return self.r + noise_fraction * (1 - self.r)
        square = self.r**2 + noise_fraction * (1 - self.r**2)
        return math.copysign(math.sqrt(abs(square)), square)

    def places(self, product: Tensor, square: Tensor, out: Tensor | None = None) -> Tensor:
        """Where q = product/square lies between 1, at -1, and its bound, at 1. The product is spent.

        c may go as the root of the distance from either end, so places are as dense there as the arcsine makes them.
        u is between its own bounds; where q is beyond 1 it counts as 1.
        """
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        torch.lerp(square, product, share, out=product).div_(square)  # 1 where q is 1, -1 at the bound; NaN where both are 0
        beyond, instead = (1.0 + share * (self.of(u) - 1.0) for u in (0.0, NOISE_FRACTION_EXPANDING))
        torch.nn.functional.threshold_(product, beyond - _ROUNDING, instead)
        return torch.mul(product.clamp_(-1.0, 1.0).asin_(), -2.0 / math.pi, out=out)

    def grid(self) -> Tensor:
        """u at places from -1 to 1, [TABLE + 1] float64 on the host."""
        place = torch.linspace(-1, 1, TABLE + 1, dtype=torch.float64, device="cpu")
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        return self.noise_fraction(1.0 - (torch.sin(place * (math.pi / 2)) + 1.0) / share).clamp(NOISE_FRACTION_MIN, 1.0)


class _Estimate(NamedTuple):
    """The noise fraction and how far it can be trusted.

    quotients   of the pair it was read from
    places      where the coefficients' q lie, as :meth:`_Quotients.places` says
    coherence   squared correlation of the two noise estimates, one a band, [rows, blocks, 1]
    near        eps_A eps_B and eps_B^2 about each place of the picture, [B, 1, ...] each, for a last step to sigma 0; else None
    data_std    S of the whole sample, [B]; NaN where u is not between 0 and 1; None if nobody looks on
    valid       share of the evidence whose u lies between 0 and 1, [B]; None if nobody looks on
    """

    quotients: _Quotients
    places: Tensor
    coherence: Tensor
    near: tuple[Tensor, Tensor] | None
    data_std: Tensor | None
    valid: Tensor | None


class CalibratedRule:
    """The rule on one run: it looks back one step."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.pairs = run.observed
        self._spectrum: Spectrum | None = None
        self._last: _Memory | None = None
        # Of the step under way, from revise to correct:
        self._eps: Tensor | None = None
        self._estimated: _Estimate | None = None

    def revise(self, evaluated: Evaluation, current: Evaluation, sigma_next: float) -> Evaluation:
        """Correct in hindsight where this evaluation is what was missing: an Euler step just made, for which no
        pair was known, and a state that a predictor-corrector has made anew.
        """
        if self._spectrum is None:
            self._spectrum = Spectrum(current.x)
        last = self._last
        if last is not None and last.sigma_next != current.sigma:
            last = self._last = None
        self._eps, self._estimated = self._noise_estimate(evaluated), None
        anew = current is not evaluated
        if last is None or not _tells(self._run.process, current.sigma):
            if anew:
                self._eps = self._noise_estimate(current)
            return current
        if not anew and (last.corrected or not last.euler):
            if last.staged and sigma_next > 0 and _tells(self._run.process, sigma_next):
                self._last = None  # the step's own stage will tell
            return current
        noise = self._norm(last.eps)
        # What is missing from an Euler step is c times the noise estimate at its start, which is needed then; to a corrector, at its end.
        self._estimated = self._estimate_behind(current.sigma, last, sigma_next, spent=last.eps if anew else None)
        self._last = None
        return self._corrected_in_hindsight(evaluated, current, last, noise)

    def correct(self, made: MadeStep) -> Correction:
        run, spectrum, eps, estimate = self._run, self._spectrum, self._eps, self._estimated
        assert spectrum is not None and eps is not None
        sigma, sigma_next = made.sigma, made.sigma_next
        stage = made.stages[0] if made.stages and _tells(run.process, made.stages[0].sigma) else None
        last, self._last = self._last if stage is None else None, None
        if stage is not None:
            quotients = self._quotients(stage.sigma, sigma, euler=True)
            of_stage = self._noise_estimate(stage)
            estimate = self._estimate(of_stage, eps, quotients, sigma_next, spent=of_stage)
            del of_stage
        elif estimate is None and last is not None and _tells(run.process, sigma):
            estimate = self._estimate_behind(sigma, last, sigma_next, spent=last.eps)
        # Every multistep solver starts with an Euler step; so does, in effect, one whose first stage is
        # still so near to pure noise that it tells nothing new (DPM++ 2S on flow models).
        euler = stage is None and not made.levels
        self._last = _Memory(sigma, sigma_next, eps, euler, bool(made.stages), estimate is not None, made.levels)
        self._eps = self._estimated = None
        del last, stage
        stiffness = h_stiffness = None
        if made.pair is not None:
            stiffness = made.pair.difference().stiffness
            h_stiffness = abs(made.pair.h) * stiffness
        if estimate is None:
            return Correction(stiffness=stiffness, h_stiffness=h_stiffness)

        table = _missed_by_step(run.solver, run.process, sigma, sigma_next, made.levels, estimate.quotients)
        value = self._missing(table, estimate, eps, out=estimate.places)
        if estimate.near is not None:
            value = self._held_back_in_blank_places(value, table, estimate)
        data_std, valid = estimate.data_std, estimate.valid
        del estimate
        kept = _share_within(self._norm(value), TRUST * abs(sigma_next - sigma) * self._norm(eps))
        correction = self._latent(self._scaled_(value, kept))
        del value
        size = active = None
        if run.observed:
            size = norm(correction)
            active = size > 0
        return Correction(
            value=correction,
            norm=size,
            active=active,
            stiffness=stiffness,
            h_stiffness=h_stiffness,
            data_std=data_std,
            valid=valid,
            kept=kept,
        )

    def _noise_estimate(self, evaluation: Evaluation) -> Tensor:
        """Coefficients of eps = (x - alpha D)/sigma, where the picture is being sampled at all."""
        process, eps = self._run.process, evaluation.d
        if process.is_flow:  # sigma is 1 - alpha
            eps = torch.add(evaluation.x.float(), eps.float(), alpha=process.alpha(evaluation.sigma))
        return self._coefficients(eps)

    def _coefficients(self, latent: Tensor) -> Tensor:
        assert self._spectrum is not None
        return self._spectrum.forward(latent if self._run.region is None else latent * self._run.region)

    def _latent(self, coefficients: Tensor, spent: bool = False) -> Tensor:
        assert self._spectrum is not None
        latent = self._spectrum.inverse(coefficients, spent)
        return latent if self._run.region is None else latent.mul_(self._run.region)

    def _corrected_in_hindsight(self, evaluated: Evaluation, current: Evaluation, last: _Memory, noise: Tensor) -> Evaluation:
        """Correct x; D follows x with its derivative on the local model, dD/dx = (1 - u)/alpha, without a model call.

        noise  |eps| of the last step, [B]
        """
        run, estimate, eps = self._run, self._estimated, self._eps
        assert estimate is not None and eps is not None
        quotients, sigma, alpha = estimate.quotients, current.sigma, run.process.alpha(current.sigma)
        if current is evaluated:
            table = _missed_by_step(run.solver, run.process, last.sigma, sigma, last.levels, quotients)
            value = self._missing(table, estimate, last.eps, out=last.eps)
        else:
            table = _missed_by_accept(run.solver, run.process, sigma, (last.sigma, *last.levels), last.corrected, quotients)
            value = self._missing(table, estimate, eps)
        kept = _share_within(self._norm(value), TRUST * abs(sigma - last.sigma) * noise)
        value = self._scaled_(value, kept)
        moved = value if current is evaluated else self._coefficients(current.x - evaluated.x).add_(value)
        follows = self._missing(_signal_fraction(quotients), estimate, moved)  # alpha times the change of D
        follows = self._scaled_(follows, (kept > 0).float())
        eps.add_(moved, alpha=1.0 / sigma).add_(follows, alpha=-1.0 / sigma)
        del moved
        d = current.d.add_(self._latent(follows.mul_(-1.0 / alpha).add_(value), spent=True), alpha=1.0 / sigma)
        del follows
        return Evaluation(corrected(current.x, self._latent(value)), sigma, d)

    def _quotients(self, sigma_a: float, sigma_b: float, *, euler: bool) -> _Quotients:
        alpha = self._run.process.alpha
        return _Quotients(sigma_a, (sigma_a * alpha(sigma_b)) / (alpha(sigma_a) * sigma_b), euler)

    def _estimate_behind(self, sigma: float, last: _Memory, sigma_next: float, spent: Tensor | None) -> _Estimate:
        """From this step's evaluation and the last step's."""
        assert self._eps is not None
        quotients = self._quotients(sigma, last.sigma, euler=last.euler and not last.corrected)
        return self._estimate(self._eps, last.eps, quotients, sigma_next, spent)

    def _estimate(self, eps_a: Tensor, eps_b: Tensor, quotients: _Quotients, sigma_next: float, spent: Tensor | None) -> _Estimate:
        """u at A from the noise estimates at A and B, for a step to sigma_next.

        spent  eps_a or eps_b, if it is not needed any more: places are written into its memory
        """
        spectrum = self._spectrum
        assert spectrum is not None
        near = spectrum.about_each_place(eps_a, eps_b) if sigma_next == 0 and spectrum.has_space else None
        places = torch.empty_like(eps_a) if spent is None else spent
        coherences, means = [], []
        for piece in spectrum.pieces:
            a, b = eps_a[piece], eps_b[piece]
            of_square_a = torch.linalg.vector_norm(a, dim=-1).square_()
            product, square = a * b, b * b
            of = spectrum.band_means(torch.stack([of_square_a, product.sum(-1), square.sum(-1)]))
            regressions = of[1] / of[::2]  # of B on A and of A on B; NaN where both are 0
            coherences.append((regressions[0] * regressions[1]).nan_to_num_(0.0).clamp_(max=1.0))
            pooled = spectrum.spread(of[1:])
            product.add_(pooled[0], alpha=POOLING)
            square.add_(pooled[1], alpha=POOLING)
            quotients.places(product, square, out=places[piece])
            means.append(of[1:])
        data_std, valid = self._told(torch.cat(means, dim=1), quotients) if self._run.observed else (None, None)
        return _Estimate(quotients, places, spectrum.spread(torch.cat(coherences)), near, data_std, valid)

    def _told(self, means: Tensor, quotients: _Quotients) -> tuple[Tensor, Tensor]:
        """S and the share of the evidence that is possible, [B] each, from band means of eps_A eps_B and eps_B^2, [2, rows, bands]."""
        assert self._spectrum is not None
        of_bands = torch.stack([self._spectrum.by_sample(mean) for mean in means])
        of_bands_and_all = torch.cat([of_bands, of_bands.sum(-1, keepdim=True)], dim=-1)
        # (1 - u)/u = S^2/s^2, and positive just where u lies between 0 and 1; NaN where nothing can be told.
        squared = quotients.signal_to_noise(of_bands_and_all[0] / of_bands_and_all[1])
        possible = squared > 0
        scale = quotients.sigma / self._run.process.alpha(quotients.sigma)
        data_std = scale * torch.where(possible, squared, math.nan)[:, -1].sqrt()
        of_square = of_bands_and_all[1]
        valid = (possible[:, :-1] * of_square[:, :-1]).sum(1) / of_square[:, -1]
        return data_std, valid.nan_to_num_(0.0)

    def _missing(self, table: Tensor, estimate: _Estimate, eps: Tensor, out: Tensor | None = None) -> Tensor:
        """The tabulated function of u times eps, as far as it is coherent."""
        assert self._spectrum is not None
        value, table = torch.empty_like(eps) if out is None else out, table.to(eps.device, non_blocking=True)
        for piece in self._spectrum.pieces:
            torch.mul(_interpolate(table, estimate.places[piece]), eps[piece], out=value[piece]).mul_(estimate.coherence[piece])
        return value

    def _held_back_in_blank_places(self, value: Tensor, table: Tensor, estimate: _Estimate) -> Tensor:
        """The correction times c(u of the neighbourhood)/c(u of the picture), where that is below 1."""
        spectrum, near = self._spectrum, estimate.near
        assert spectrum is not None and near is not None
        table = table.to(value.device, non_blocking=True)

        def c(product: Tensor, square: Tensor) -> Tensor:
            return _interpolate(table, estimate.quotients.places(product, square))

        whole = per_sample(c(*(plane.flatten(1).sum(1) for plane in near)), near[0])
        share = torch.where(whole != 0, c(*near) / whole, 1.0).clamp_(0.0, 1.0)
        return spectrum.forward(spectrum.inverse(value, spent=True).mul_(share))

    def _norm(self, coefficients: Tensor) -> Tensor:
        """Of each sample's, [B]."""
        assert self._spectrum is not None
        return norm(self._spectrum.by_sample(coefficients))

    def _scaled_(self, coefficients: Tensor, kept: Tensor) -> Tensor:
        """The share of each sample's coefficients that is kept, in place. Where none is, they may hold NaN, and NaN times 0 is NaN."""
        assert self._spectrum is not None
        self._spectrum.by_sample(coefficients).mul_(kept[:, None]).nan_to_num_(0.0, 0.0, 0.0)
        return coefficients


def _tells(process: NoiseProcess, sigma: float) -> bool:
    """Whether noise estimates at this level can tell S: 1 - u = S^2/(S^2 + s^2) must stand out from rounding."""
    return process.alpha(sigma) > SIGNAL_TO_NOISE_MIN * sigma


def _share_within(size: Tensor, limit: Tensor) -> Tensor:
    """The share of a correction of this size that lies within the limit, [B]; none where the size is not finite."""
    return (limit / size).clamp_(max=1.0).nan_to_num_(0.0)


def _interpolate(table: Tensor, places: Tensor) -> Tensor:
    """A function tabulated on the grid of places, [TABLE + 1], at these places. NaN counts as -1. Linear between grid points."""
    if places.device.type not in ("cpu", "cuda"):
        return _interpolate_plainly(table, places)
    # Sampled like a picture of one row, where the second coordinate may be anything: one kernel instead of seven.
    grid = places.reshape(1, 1, -1, 1).expand(-1, -1, -1, 2)
    picture = table.view(1, 1, 1, -1)
    return torch.nn.functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True).view(places.shape)


def _interpolate_plainly(table: Tensor, places: Tensor) -> Tensor:
    """The same, for devices on which torch may not sample pictures in that way (Apple's MPS, DirectML)."""
    position = places.flatten().add(1.0).mul_(TABLE / 2).nan_to_num_(0.0)
    left = position.int().clamp_(max=TABLE - 1)
    value, right = table.index_select(0, left), table[1:].index_select(0, left)
    return value.lerp_(right, position.sub_(left)).view(places.shape)


# The correction depends on the sample through u alone, so the solver is run once on a grid of scalar problems instead of on
# every coefficient; on the host, where float64 leaves the difference of two nearly equal numbers its digits.


class _ScalarProblems:
    """The local model for a grid of u."""

    def __init__(self, process: NoiseProcess, quotients: _Quotients) -> None:
        u = quotients.grid()
        self._process = process
        self._variance = (quotients.sigma / process.alpha(quotients.sigma)) ** 2 * ((1 - u) / u)  # S^2

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
        """What is missing to the exact solution at sigma, over the noise estimate eps that was told: a table."""
        eps = told.sigma * told.x / self.std(told.sigma) ** 2
        return ((self.std(sigma) - reached) / eps).float()


@lru_cache(maxsize=1024)
def _signal_fraction(quotients: _Quotients) -> Tensor:
    """1 - u = S^2/(S^2 + s^2) as a table."""
    return (1.0 - quotients.grid()).float()


@lru_cache(maxsize=1024)
def _missed_by_step(
    solver: Solver, process: NoiseProcess, sigma: float, sigma_next: float, levels: tuple[float, ...], quotients: _Quotients
) -> Tensor:
    """c of a step from sigma to sigma_next with exact evaluations at ``levels`` behind it, as a table on the places of q."""
    problems = _ScalarProblems(process, quotients)
    current, history = problems.exact(sigma), [problems.exact(level) for level in levels]
    return problems.missed(solver.step(problems.evaluate, current, sigma_next, history).x_next, sigma_next, current)


@lru_cache(maxsize=1024)
def _missed_by_accept(
    solver: Solver, process: NoiseProcess, sigma: float, levels: tuple[float, ...], corrected: bool, quotients: _Quotients
) -> Tensor:
    """The same for the state that the solver makes anew at sigma, when what it predicted there has been evaluated.

    levels     the noise levels behind, the last step's first
    corrected  whether the prediction has been corrected, and is on the exact solution
    """
    problems = _ScalarProblems(process, quotients)
    history = [problems.exact(level) for level in levels]
    told = problems.exact(sigma)
    if not corrected:
        told = problems.evaluate(solver.step(problems.evaluate, history[0], sigma, history[1:]).x_next, sigma)
    return problems.missed(solver.accept(told, history[: solver.memory]).x, sigma, told)
