r"""The calibrated rule: add back what a solver gets wrong on a local Gaussian model, where that has proved right.

It has no strength and no threshold. The derivation uses the coordinates \bar x = x/alpha and s = sigma/alpha. In them
every model's ODE is d\bar x/ds = eps, with the noise estimate eps = (x - alpha D)/sigma.

1.  Assume that the data in one frequency band (:mod:`.bands`) is Gaussian with variance S^2. Then
    eps = s (\bar x - mean)/(S^2 + s^2), and on an exact solution \bar x - mean is proportional to sqrt(S^2 + s^2).
    Everything follows from u = s^2/(S^2 + s^2), the fraction of the band that is noise.

2.  Take two evaluations A and B, with q = <eps_A, eps_B>/<eps_B, eps_B> and r = s_A/s_B. They give u at A. On the
    Gaussian model this is exact:

        A reached from B by an Euler step           u = (q - r)/(1 - r)
        A and B on one solution                     u = (q^2 - r^2)/(1 - r^2)

    The first stage of every Runge-Kutta step is reached by an Euler step. A multistep solver's
    evaluations are on one solution. (At s_B = infinity, where flow models start, r is 0.)

3.  Run the solver's own step, history included, on that scalar problem. It starts on the exact solution
    std(sigma) = sqrt(alpha^2 S^2 + sigma^2) and ends at y instead of std(sigma_next). So the claim is that the
    step misses, in each band,

        v = c(u) eps,        c(u) = (std(sigma_next) - y)/eps_model

    This also holds for the last step to sigma = 0, where std is S.

4.  A band has not one variance but many: places of a picture differ, and so do the frequencies of half an octave. Let
    the means of a band be weighted by eps_B^2. Then q = <eps_A, eps_B>/<eps_B, eps_B> is the mean E q of its parts, and
    <eps_A, eps_A>/<eps_B, eps_B> is E q^2. So the relations of item 2 give the mean of u exactly, the second one with
    E q^2 for q^2, and the other of both means tells how widely u is spread. Let u be logit-normal with these two. Over
    that distribution c(u) eps is fitted by least squares:

        v = a eps_A + b eps_B

    With a single u, that is c(u) eps. Blank places are spared: eps does not change there, and a + b is nearly 0. Where
    A was reached by a multistep step, its own error scatters q as well. So half of q's variance counts there, and the
    slope of the fit is half as steep (E q is not touched by that).

5.  Data is not Gaussian, and the model cannot know where it fails. But a claim can be judged one evaluation later,
    without an extra model call. Interpolate D through what the step used *and* the new evaluation. This gives the
    step to one order more, and so what the unguided step really missed: e. For each sample, the next claim is
    trusted as far as this one proved right:

        x_next += T v,        T = <e, v> / max(<v, v>, <e, e>/3), between 0 and 1

    If the next claim is more than 16 times as large as the judged one, each as a share of the noise that its step
    removes, T is as many times smaller as it is above that.
    Nothing is corrected before a claim has been judged. T is 0 where there was nothing to correct (the solver was
    already exact, or there was only the model's rounding). T is also 0 where the claim pointed the wrong way.

6.  No later evaluation can judge what the last step adds. It is the remaining change of D: x_0 = D(x_0, 0), so the
    step to 0 misses D(0) - D(sigma). The same model predicts how D should have changed over the step before.
    That prediction is judged instead: v is the predicted change and e the observed one. Where much of the change stays
    unexplained the picture is still being decided, so T is multiplied by 1 - |e - v|^2/|D/2|^2, down to 0. No later
    evaluation can tell chance from a real effect, so T is also multiplied by cos(v, e), and nothing is predicted or
    claimed of a band whose mean of 1 - q is within 1.4 standard errors of 0 (1 after a multistep step).

Two kinds of step are left uncorrected, for each sample. In the first kind the model repeated its last output, or its
last difference from the input, as step caches do. That is no evidence. The second kind are all steps after one whose
error, minus what was believed of the claim, was more than half of the noise that the step removed. Such a run has left
its trajectory.

Solvers that add noise have a rule of their own: :mod:`.variance`. A latent that packs several has one rule for each of
its parts: :mod:`.parts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..base import Rule, RunFacts
from .parts import ByParts
from .rule import CalibratedRule
from .variance import VarianceRule


@dataclass(frozen=True)
class Calibrated:
    """The calibrated rule, as the module's text describes it. It has no settings."""

    mode: ClassVar[str] = "calibrated"
    corrects: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()
    knows_noise: ClassVar[bool] = True

    @property
    def settings(self) -> Mapping[str, float]:
        return {}

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Calibrated:
        return cls()

    def begin(self, run: RunFacts) -> Rule:
        rule = VarianceRule if run.solver.adds_noise else CalibratedRule
        return ByParts(run, rule) if len(run.parts) > 1 else rule(run)
