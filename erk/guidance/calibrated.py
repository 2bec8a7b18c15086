r"""The calibrated rule: what the solver gets wrong on a local Gaussian model is added back, where that has proved right.

No strength, no threshold. The derivation, in the coordinates \bar x = x/alpha, s = sigma/alpha, in which
every model's ODE reads d\bar x/ds = eps with the noise estimate eps = (x - alpha D)/sigma:

1.  Take the data in one frequency band (:mod:`erk.spectrum`) for Gaussian with variance S^2. Then
    eps = s (\bar x - mean)/(S^2 + s^2) and an exact solution moves as \bar x - mean ~ sqrt(S^2 + s^2).
    Everything follows from u = s^2/(S^2 + s^2), the fraction of the band that is noise.

2.  Two evaluations A and B with q = <eps_A, eps_B>/<eps_B, eps_B> and r = s_A/s_B tell u at A, exactly on the model:

        A reached from B by an Euler step           u = (q - r)/(1 - r)
        A and B on one solution                     u = (q^2 - r^2)/(1 - r^2)

    The first stage of every Runge-Kutta step is reached by an Euler step; a multistep solver's
    evaluations lie on one solution. (At s_B = infinity, where flow models start, r is 0.)

3.  The solver's own step, history included, is run on that scalar problem. Started on the exact
    solution std(sigma) = sqrt(alpha^2 S^2 + sigma^2) it ends at y instead of std(sigma_next), so the step is
    claimed to miss

        v = c(u) eps,        c(u) = (std(sigma_next) - y)/eps_model

    in each band. This holds for the last step to sigma = 0 too, where std is S.

4.  Data is not Gaussian, and the model cannot know where it fails. But a claim can be judged one evaluation
    later, without a model call: D interpolated through what the step used *and* the new evaluation gives the
    step one order better, and so what the unguided step really missed, e. Sample by sample, the next claim
    is believed as far as this one proved right:

        x_next += T v,        T = <e, v> / max(<v, v>, <e, e>/4), between 0 and 1

    Before anything has been judged nothing is corrected. Where there was nothing to correct (a solver that is exact already,
    a model's rounding) T is 0, and so it is where the claim pointed the wrong way.

5.  What the last step adds cannot be seen by a later one. It is the rest of D's way: x_0 = D(x_0, 0), so the step to
    0 misses D(0) - D(sigma). The same model says how D should have changed over the step before, and that is what is
    judged, with v the change it predicted and e the change seen. Nobody comes after who could tell chance from law, so T is
    at most the share of e that v explains, <e, v>^2/(<e, e> <v, v>).

Two kinds of step are left plain, sample by sample: one at which the model gave its last output again, or its last
difference from the input, as step caches do, for that is no evidence; and all that follow one whose error, less the claim,
was more than half of the noise that the step took away: such a run has left its trajectory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..evaluation import Evaluation, add_scaled
from ..noise_process import NoiseProcess
from ..norms import inner, norm, per_sample
from ..solvers import Solver
from ..solvers.multistep import data_weights
from ..spectrum import Spectrum
from .base import Correction, MadeStep, Run

NOISE_FRACTION_MIN = 1e-3
"""Least u: beyond, eps hardly depends on S any more and its estimate would be of rounding errors."""

NOISE_FRACTION_EXPANDING = 0.3
"""Taken for u where the estimate is negative: there the solution runs apart between two modes of the
data, which no Gaussian does. A wide one (S = 1.5 s) is near enough, and errs on the side of caution."""

SIGNAL_TO_NOISE_MIN = 1e-3
"""Least alpha/sigma at which a pair is read: below, float32 cannot tell the data from nothing."""

SURPRISE = 0.25
"""Weight of <e, e> against <v, v>: an error of more than twice the claim is not what the model describes, and trust falls again."""

STRAYED = 0.5
"""Share of the noise that a step takes away which an unexplained error may have: beyond, the evaluations do not hang together."""

PROBES = 4096
"""How many numbers of a model's output are compared with its last one, at most about."""

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


class _Past(NamedTuple):
    """What is kept of the last step.

    eps        coefficients of its noise estimate
    denoised   D at its start, [B, ...]
    euler      whether the state it led to was reached by an Euler step alone
    """

    sigma: float
    eps: Tensor
    denoised: Tensor
    euler: bool


class _Claim(NamedTuple):
    """A claim that waits for the next evaluation to be judged.

    claimed   v, [B, ...]
    partial   what is known already of e: e = partial + weight D, with D of the evaluation to come
    last      whether what is judged is believed for the last step
    bearable  how large an error may be that the claim does not explain, [B]
    """

    claimed: Tensor
    partial: Tensor
    weight: float
    last: bool
    bearable: Tensor


class _Quotients(NamedTuple):
    """What the quotient q of a pair of noise estimates says of u at A (item 2 of the module's text).

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

    def positions(self, product: Tensor, square: Tensor) -> Tensor:
        """Where q = product/square lies between 1, at -1, and its bound, at 1: a table's coordinate.

        c may go as the root of the distance from either end, so positions are as dense there as the arcsine makes them.
        u is between its own bounds; where q is beyond 1 it counts as 1.
        """
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        position = torch.lerp(square, product, share).div_(square)  # 1 where q is 1, -1 at the bound; NaN where both are 0
        beyond, instead = (1.0 + share * (self.of(u) - 1.0) for u in (0.0, NOISE_FRACTION_EXPANDING))
        torch.nn.functional.threshold_(position, beyond - _ROUNDING, instead)
        return position.clamp_(-1.0, 1.0).asin_().mul_(-2.0 / math.pi)

    def grid(self) -> Tensor:
        """u at positions from -1 to 1, [TABLE + 1] float64 on the host."""
        position = torch.linspace(-1, 1, TABLE + 1, dtype=torch.float64, device="cpu")
        share = 2.0 / (1.0 - self.of(NOISE_FRACTION_MIN))
        return self.noise_fraction(1.0 - (torch.sin(position * (math.pi / 2)) + 1.0) / share).clamp(NOISE_FRACTION_MIN, 1.0)


class _Estimate(NamedTuple):
    """The noise fraction of each band.

    quotients  of the pair it was read from
    positions  where the bands' q lie, as :meth:`_Quotients.positions` says, [rows, bands]
    data_std   S of the whole sample, [B]; NaN where u is not between 0 and 1; None if nobody looks on
    valid      share of the evidence whose u lies between 0 and 1, [B]; None if nobody looks on
    """

    quotients: _Quotients
    positions: Tensor
    data_std: Tensor | None
    valid: Tensor | None


class CalibratedRule:
    """The rule on one run: it looks back one step.

    trust    T of the newest judgement, [B]; None before the first
    strayed  which samples have left their trajectory, [B] bool; None before the first judgement
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.pairs = run.observed
        self.trust: Tensor | None = None
        self.strayed: Tensor | None = None
        self._last_output: tuple[float, Tensor] | None = None
        self._repeats: list[Tensor] = []
        self._spectrum: Spectrum | None = None
        self._past: _Past | None = None
        self._claim: _Claim | None = None

    def judge(self, evaluated: Evaluation) -> None:
        """Judge the last claim by the evaluation of the state that its step led to."""
        self._note(evaluated)
        claim, self._claim = self._claim, None
        if claim is None:
            return
        found = add_scaled(claim.partial, evaluated.denoised.float(), claim.weight)
        if self._run.region is not None:
            found = found * self._run.region
        product, claimed_square, found_square = inner(found, claim.claimed), inner(claim.claimed, claim.claimed), inner(found, found)
        self.trust = _agreement(product, claimed_square, found_square, claim.last)
        if not claim.last:
            strayed = claimed_square - 2 * product + found_square > claim.bearable**2
            for repeated in self._repeats:  # what a step cache returns contradicts what comes after
                strayed.masked_fill_(repeated, False)
            self.strayed = strayed if self.strayed is None else strayed.logical_or_(self.strayed)

    def correct(self, made: MadeStep) -> Correction:
        run, start = self._run, made.start
        if self._spectrum is None:
            self._spectrum = Spectrum(start.x)
        past, self._past = self._past, None
        eps, denoised = self._noise_estimate(start), start.denoised.float()
        stage = made.stages[0] if made.stages and _tells(run.process, made.stages[0].sigma) else None
        estimate = self._estimate_of(made, stage, eps, past)
        trust = None if estimate is None else self._applied_trust(start.x)
        # Every multistep solver starts with an Euler step; so does, in effect, one whose first stage is still so near to
        # pure noise that it tells nothing new. A predictor-corrector leaves it behind when it makes the state anew.
        euler = stage is None and not made.levels and trust is None and not run.solver.corrects
        self._past = _Past(made.sigma, eps, denoised, euler)
        stiffness = h_stiffness = None
        if made.pair is not None:
            stiffness = made.pair.difference().stiffness
            h_stiffness = abs(made.pair.h) * stiffness
        for stage in made.stages:
            self._note(stage)
        repeated = functools.reduce(torch.logical_or, self._repeats[: 1 + len(made.stages)])
        if estimate is None:
            return Correction(stiffness=stiffness, h_stiffness=h_stiffness)

        table = _missed_by_step(run.solver, run.process, made.sigma, made.sigma_next, made.levels, estimate.quotients)
        claimed = self._latent(self._from_table(table, estimate, eps))
        bearable = self._norm(eps).mul_(STRAYED * abs(made.sigma_next - made.sigma))
        self._claim = self._to_be_judged(made, claimed, bearable, past, estimate)
        value = size = active = believed = held = None
        if trust is not None:
            plain = repeated if self.strayed is None else repeated | self.strayed
            believed = trust.masked_fill(plain, 0.0)
            value = claimed * per_sample(believed, claimed)
        if run.observed:
            held = repeated.float() if self.strayed is None else torch.where(self.strayed, 2.0, repeated.float())
            size = torch.zeros_like(bearable) if believed is None else believed * norm(claimed)
            active = size > 0
            believed = torch.zeros_like(bearable) if believed is None else believed * active
        return Correction(
            value=value,
            norm=size,
            active=active,
            stiffness=stiffness,
            h_stiffness=h_stiffness,
            data_std=estimate.data_std,
            valid=estimate.valid,
            believed=believed,
            held=held,
        )

    def _applied_trust(self, x: Tensor) -> Tensor | None:
        """What a claim about a step from x is multiplied by; None: nothing has been judged yet, and nothing is added."""
        return self.trust

    # What leaves a step plain

    def _note(self, evaluated: Evaluation) -> None:
        """Whether the model repeats itself, of the newest evaluations that a judgement may look at: [B] bool each, newest first."""
        output = _probe(evaluated)
        sigma, last = self._last_output or (evaluated.sigma, output)
        if sigma == evaluated.sigma:  # the last stage and this step's start, whose outputs are rightly next to the same
            same = output.new_zeros(len(output), dtype=torch.bool)
        else:
            size = torch.linalg.vector_norm(output, ord=math.inf, dim=(1, 2))
            difference = torch.linalg.vector_norm(output - last, ord=math.inf, dim=2).amin(1)
            same = difference <= 4 * _ROUNDING * size
        self._repeats = [same, *self._repeats[:3]]
        self._last_output = (evaluated.sigma, output)

    # What is claimed

    def _estimate_of(self, made: MadeStep, stage: Evaluation | None, eps: Tensor, past: _Past | None) -> _Estimate | None:
        """u from the step's own first stage, else from this step's start and the last one's; None where neither tells."""
        if stage is not None:
            return self._estimate(self._noise_estimate(stage), eps, self._quotients(stage.sigma, made.sigma, euler=True))
        if past is not None and _tells(self._run.process, made.sigma):
            return self._estimate(eps, past.eps, self._quotients(made.sigma, past.sigma, euler=past.euler))
        return None

    def _estimate(self, eps_a: Tensor, eps_b: Tensor, quotients: _Quotients) -> _Estimate:
        """u at A from the noise estimates at A and B."""
        assert self._spectrum is not None
        sums = [
            torch.stack([(eps_a[piece] * eps_b[piece]).sum(-1), torch.linalg.vector_norm(eps_b[piece], dim=-1).square_()])
            for piece in self._spectrum.pieces
        ]
        means = self._spectrum.band_means(torch.cat(sums, dim=1))
        data_std, valid = self._told(means, quotients) if self._run.observed else (None, None)
        return _Estimate(quotients, quotients.positions(*means), data_std, valid)

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

    def _from_table(self, table: Tensor, estimate: _Estimate, eps: Tensor) -> Tensor:
        """The tabulated function of u times eps, band by band."""
        assert self._spectrum is not None
        return eps * self._spectrum.spread(_interpolate(table.to(eps.device, non_blocking=True), estimate.positions))

    # How it is judged

    def _to_be_judged(self, made: MadeStep, claimed: Tensor, bearable: Tensor, past: _Past | None, estimate: _Estimate) -> _Claim | None:
        """What the next evaluation will judge: this claim, or, before the last step, how D should change on the way there."""
        if made.sigma_next == 0 or made.following is None:
            return None
        start = made.start
        if made.following == 0:
            table = _change_of_denoised(self._run.process, made.sigma, made.sigma_next, estimate.quotients)
            assert self._past is not None
            change = self._latent(self._from_table(table, estimate, self._past.eps))
            return _Claim(change, -self._past.denoised, 1.0, last=True, bearable=bearable)
        # e = (sigma_next/sigma) x + sum of weight D - x_next, of which only the D of sigma_next is not known yet.
        assert self._past is not None
        known: list[tuple[float, Tensor]] = [(stage.sigma, stage.denoised.float()) for stage in made.stages[::-1]]
        known.append((made.sigma, self._past.denoised))
        if past is not None:
            known.append((past.sigma, past.denoised))
        levels, nodes = [made.sigma_next], []
        for sigma, denoised in known:
            if sigma not in levels and len(levels) < 3:
                levels.append(sigma)
                nodes.append(denoised)
        weight, *weights = data_weights(self._run.process, tuple(levels), made.sigma, made.sigma_next)
        partial = add_scaled(-made.x_next.float(), start.x.float(), made.sigma_next / made.sigma)
        for of_node, node in zip(weights, nodes, strict=True):
            add_scaled(partial, node, of_node, out=partial)
        return _Claim(claimed, partial, weight, last=False, bearable=bearable)

    # Coefficients and latents

    def _noise_estimate(self, evaluation: Evaluation) -> Tensor:
        """Coefficients of eps = (x - alpha D)/sigma, where the picture is being sampled at all."""
        assert self._spectrum is not None
        process, eps, region = self._run.process, evaluation.d, self._run.region
        if process.is_flow:  # sigma is 1 - alpha
            eps = torch.add(evaluation.x.float(), eps.float(), alpha=process.alpha(evaluation.sigma))
        return self._spectrum.forward(eps if region is None else eps * region)

    def _latent(self, coefficients: Tensor) -> Tensor:
        """The latent of coefficients that are not needed any more."""
        assert self._spectrum is not None
        latent = self._spectrum.inverse(coefficients, spent=True).nan_to_num_(0.0, 0.0, 0.0)  # no claim where nothing can be told
        return latent if self._run.region is None else latent.mul_(self._run.region)

    def _quotients(self, sigma_a: float, sigma_b: float, *, euler: bool) -> _Quotients:
        alpha = self._run.process.alpha
        return _Quotients(sigma_a, (sigma_a * alpha(sigma_b)) / (alpha(sigma_a) * sigma_b), euler)

    def _norm(self, coefficients: Tensor) -> Tensor:
        """Of each sample's, [B]."""
        assert self._spectrum is not None
        return norm(self._spectrum.by_sample(coefficients))


def _agreement(product: Tensor, claimed_square: Tensor, found_square: Tensor, last: bool) -> Tensor:
    """T (items 4 and 5 of the module's text) from <e, v>, <v, v> and <e, e>, any shape; 0 where nothing can be told."""
    agreement = product / torch.maximum(claimed_square, SURPRISE * found_square)
    if last:
        agreement = torch.minimum(agreement, product * product.abs() / (claimed_square * found_square))
    return agreement.nan_to_num_(0.0, 0.0, 0.0).clamp_(0.0, 1.0)


def _probe(evaluated: Evaluation) -> Tensor:
    """Some of D and of D - x, [B, 2, probes]. An odd stride, so that no column of a picture is left out."""
    stride = (evaluated.x[0].numel() // PROBES) | 1
    x, d = (part.flatten(1)[:, ::stride].float() for part in (evaluated.x, evaluated.d))
    difference = d * -evaluated.sigma
    return torch.stack([x + difference, difference], dim=1)


def _tells(process: NoiseProcess, sigma: float) -> bool:
    """Whether noise estimates at this level can tell S: 1 - u = S^2/(S^2 + s^2) must stand out from rounding."""
    return process.alpha(sigma) > SIGNAL_TO_NOISE_MIN * sigma


def _interpolate(table: Tensor, positions: Tensor) -> Tensor:
    """A function tabulated from -1 to 1, [TABLE + 1], at these positions, any shape. NaN counts as -1. Linear between grid points."""
    position = positions.flatten().add(1.0).mul_(TABLE / 2).nan_to_num_(0.0)
    left = position.int().clamp_(max=TABLE - 1)
    value, right = table.index_select(0, left), table[1:].index_select(0, left)
    return value.lerp_(right, position.sub_(left)).view(positions.shape)


# The correction depends on the sample through u alone, so the solver is run once on a grid of scalar problems instead of on
# every band; on the host, where float64 leaves the difference of two nearly equal numbers its digits.


class _ScalarProblems:
    """The local model for a grid of u."""

    def __init__(self, process: NoiseProcess, quotients: _Quotients) -> None:
        u = quotients.grid()[None]  # one sample: what a solver bounds sample by sample is bounded by the whole, as on a latent
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

    def denoised(self, sigma: float) -> Tensor:
        """D on the exact solution: alpha S^2/std."""
        return self._process.alpha(sigma) * self._variance / self.std(sigma)

    def over_noise(self, difference: Tensor, sigma: float) -> Tensor:
        """A difference over the noise estimate eps = sigma/std of the exact solution at sigma: a table."""
        return (difference * self.std(sigma) / sigma)[0].float()


@lru_cache(maxsize=1024)
def _missed_by_step(
    solver: Solver, process: NoiseProcess, sigma: float, sigma_next: float, levels: tuple[float, ...], quotients: _Quotients
) -> Tensor:
    """c of a step from sigma to sigma_next with exact evaluations at ``levels`` behind it, as a table on the positions of q."""
    problems = _ScalarProblems(process, quotients)
    history: Sequence[Evaluation] = [problems.exact(level) for level in levels]
    reached = solver.step(problems.evaluate, problems.exact(sigma), sigma_next, history).x_next
    return problems.over_noise(problems.std(sigma_next) - reached, sigma)


@lru_cache(maxsize=1024)
def _change_of_denoised(process: NoiseProcess, sigma: float, sigma_next: float, quotients: _Quotients) -> Tensor:
    """D(sigma_next) - D(sigma) on the exact solution, over eps at sigma, as a table on the positions of q."""
    problems = _ScalarProblems(process, quotients)
    return problems.over_noise(problems.denoised(sigma_next) - problems.denoised(sigma), sigma)
