"""The calibrated rule, applied to one run."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...evaluation import Evaluation
from ...norms import norm, per_sample
from ...repeats import Repeats, Seen
from ..base import Correction, MadeStep, RunFacts
from .claim import GROWTH, STRAYED, Claim, error_so_far
from .estimate import Estimate, estimate, is_readable
from .local_model import change_of_denoised, missed_by_step
from .quotient import Quotients
from .spectrum import Spectrum
from .spread import look_up


class _Start(NamedTuple):
    """What is kept from a step's start.

    eps        coefficients of its noise estimate
    denoised   D there, [B, ...]
    euler      whether the step was an Euler step and nothing else
    """

    sigma: float
    eps: Tensor
    denoised: Tensor
    euler: bool


class _Memory(NamedTuple):
    """What a run that continues this one must know.

    verified  the size of the newest judged claim, [B]; None if a change of D was judged
    change    the predicted change of D, [B, ...], which is judged instead of the claim if only one more step follows
    """

    trust: Tensor | None
    verified: Tensor | None
    strayed: Tensor | None
    repeats: Seen
    past: _Start | None
    claim: Claim | None
    change: Tensor | None


class CalibratedRule:
    """The rule for one run. :meth:`correct` makes a claim, and :meth:`judge` judges it before the next step.

    trust    T of the newest judgement, [B]; None before the first
    strayed  which samples have left their trajectory, [B] bool; None before the first judgement
    """

    def __init__(self, run: RunFacts) -> None:
        self._run = replace(run, earlier=None)
        self.pairs = run.observed
        self._spectrum = Spectrum(run.shape, run.device)
        known = _Memory(None, None, None, Seen(), None, None, None) if run.earlier is None else run.earlier.memory
        self.trust, self._verified, self.strayed, seen, self._past, self._claim, self._change = known
        if self._past is not None:  # claims use its memory, and the earlier run may be continued again
            self._past = self._past._replace(eps=self._past.eps.clone())
        self._repeats = Repeats(seen)
        change, self._change = self._change, None
        if run.earlier is not None and run.earlier.following == 0 and self._claim and self._past and change is not None:
            self._claim = Claim.of_change(change, self._past.denoised)

    @property
    def memory(self) -> _Memory:
        return _Memory(
            self.trust, self._verified, self.strayed, self._repeats.seen, self._past, self._claim, self._change
        )

    def judge(self, evaluated: Evaluation) -> None:
        """Judge the last claim by the evaluation of the state that its step led to."""
        self._repeats.look(evaluated)
        claim, self._claim = self._claim, None
        if claim is None:
            return
        self.trust, strayed = claim.judged(evaluated, self._run.region)
        self._verified = claim.size
        if strayed is not None:
            # The output of a step cache contradicts later evaluations, but the run has not strayed.
            strayed.masked_fill_(self._repeats.among_judged(), False)
            self.strayed = strayed if self.strayed is None else strayed.logical_or_(self.strayed)

    def correct(self, made: MadeStep) -> Correction:
        past, self._past = self._past, None
        start = _Start(made.sigma, self._noise_estimate(made.start), made.start.denoised.float(), euler=False)
        found = self._estimate(made, start, past)
        for stage in made.stages:
            self._repeats.look(stage)
        seen = Correction.of_pair(made.pair)
        if found is None:
            self._past = start._replace(euler=self._is_euler(made, corrected=False))
            return seen
        plane = missed_by_step(
            self._run.solver, self._run.process, made.sigma, made.sigma_next, made.levels, found.quotients
        )
        if made.sigma_next == 0:  # no later evaluation can tell chance from a real effect
            found = found.without_chance(self._spectrum.sizes)
        again = made.sigma_next > 0 and (made.following is None or made.following == 0)
        claimed = self._latent(plane, found, keep=again)
        length = norm(claimed)
        bearable = norm(self._spectrum.by_sample(start.eps)).mul_(STRAYED * abs(made.sigma_next - made.sigma))
        believed = self._trust(size := length / bearable)
        self._past = start._replace(euler=self._is_euler(made, corrected=believed is not None))
        if made.sigma_next == 0:
            self._claim = None
        elif made.following == 0:
            self._claim = Claim.of_change(self._change_of_denoised(start, made.sigma_next, found), start.denoised)
        else:
            self._claim = Claim(claimed, length.square(), bearable, size, *self._error_so_far(made, start, past))
            if made.following is None:  # the run ends above 0, and another may take the last step
                self._change = self._change_of_denoised(start, made.sigma_next, found)
        repeated = self._repeats.among(1 + len(made.stages))
        if believed is not None:
            believed = believed.masked_fill(repeated if self.strayed is None else repeated | self.strayed, 0.0)
        value = None if believed is None else claimed * per_sample(believed, claimed)
        if not self._run.observed:
            return seen._replace(value=value)
        return self._with_measures(
            seen._replace(value=value, data_std=found.data_std, valid=found.valid), claimed, believed, repeated
        )

    def _is_euler(self, made: MadeStep, corrected: bool) -> bool:
        """Whether the step was an Euler step and nothing else.

        Every multistep solver starts with an Euler step. So does, in effect, a solver whose first stage is so close to
        pure noise that it adds no information. A predictor-corrector recomputes the state, so its step is not one.
        """
        from_stage = bool(made.stages) and is_readable(self._run.process, made.stages[0].sigma)
        return not (from_stage or made.levels or corrected or self._run.solver.corrects)

    # What is claimed

    def _estimate(self, made: MadeStep, start: _Start, past: _Start | None) -> Estimate | None:
        """u from the step's first stage, or else from this step's start and the last one's; None if neither works."""
        process, observed = self._run.process, self._run.observed
        if made.stages and is_readable(process, made.stages[0].sigma):
            stage = made.stages[0]
            quotients = Quotients.of_levels(process, stage.sigma, made.sigma, euler=True, starts_at_a=False)
            return estimate(self._spectrum, process, self._noise_estimate(stage), start.eps, quotients, observed)
        if past is not None and is_readable(process, made.sigma):
            multistep = self._run.solver.calls == 1 and not past.euler
            quotients = Quotients.of_levels(
                process, made.sigma, past.sigma, euler=past.euler, starts_at_a=True, multistep=multistep
            )
            return estimate(self._spectrum, process, start.eps, past.eps, quotients, observed)
        return None

    def _noise_estimate(self, evaluation: Evaluation) -> Tensor:
        """Coefficients of eps = (x - alpha D)/sigma, inside the sampled region."""
        process, eps, region = self._run.process, evaluation.d, self._run.region
        if process.is_flow:  # sigma is 1 - alpha
            eps = torch.add(evaluation.x.float(), eps.float(), alpha=process.alpha(evaluation.sigma))
        return self._spectrum.forward(eps if region is None else eps * region)

    def _latent(self, plane: Tensor, found: Estimate, keep: bool) -> Tensor:
        """What a plane claims of the evidence, band by band, as a latent; 0 where it is not defined.

        keep  whether the evidence is needed again; if not, the memory of what is not the step's start is used
        """
        factors = self._spectrum.spread(look_up(plane.to(found.places.device, non_blocking=True), found.places))
        (other, start), (of_other, of_start) = found.eps, factors
        if found.quotients.starts_at_a:
            other, start, of_other, of_start = start, other, of_start, of_other
        claimed = (other * of_other if keep else other.mul_(of_other)).addcmul_(start, of_start)
        latent = self._spectrum.inverse(claimed, in_place=True).nan_to_num_(0.0, 0.0, 0.0)
        return latent if self._run.region is None else latent.mul_(self._run.region)

    def _error_so_far(self, made: MadeStep, start: _Start, past: _Start | None) -> tuple[Tensor, float]:
        """What is known of the step's error, as :func:`.claim.error_so_far` says."""
        known = [(stage.sigma, stage.denoised.float()) for stage in made.stages[::-1]]
        known += [(one.sigma, one.denoised) for one in (start, past) if one is not None]
        return error_so_far(self._run.process, made.start.x, made.x_next, made.sigma, made.sigma_next, known)

    def _change_of_denoised(self, start: _Start, sigma_next: float, found: Estimate) -> Tensor:
        """The predicted change of D in a step. It uses the memory of the evidence."""
        plane = change_of_denoised(self._run.process, start.sigma, sigma_next, found.quotients)
        return self._latent(plane, found.without_chance(self._spectrum.sizes), keep=False)

    # How far it is trusted

    def _trust(self, size: Tensor) -> Tensor | None:
        """The factor for a claim of this size, [B]; None if nothing has been judged yet."""
        if self.trust is None or self._verified is None:
            return self.trust
        return torch.fmin(self.trust, (self.trust * self._verified).div_(size).mul_(GROWTH))  # a claim of 0 has NaN

    def _with_measures(
        self, correction: Correction, claimed: Tensor, believed: Tensor | None, repeated: Tensor
    ) -> Correction:
        """The correction with the values that a trace records."""
        held = repeated.float() if self.strayed is None else torch.where(self.strayed, 2.0, repeated.float())
        if believed is None:
            zero = torch.zeros_like(held)
            return correction._replace(norm=zero, active=zero > 0, believed=zero, held=held)
        size = believed * norm(claimed)
        return correction._replace(norm=size, active=size > 0, believed=believed * (size > 0), held=held)
