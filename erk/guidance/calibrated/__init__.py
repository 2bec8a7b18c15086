r"""The calibrated rule: what a solver gets wrong on a local Gaussian model is added back, where that proved right.

No strength, no threshold. The derivation, in the coordinates \bar x = x/alpha, s = sigma/alpha, in which
every model's ODE reads d\bar x/ds = eps with the noise estimate eps = (x - alpha D)/sigma:

1.  Take the data in one frequency band (:mod:`.bands`) for Gaussian with variance S^2. Then
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

    Before anything has been judged nothing is corrected. Where there was nothing to correct (a solver that is exact
    already, a model's rounding) T is 0, and so it is where the claim pointed the wrong way.

5.  What the last step adds cannot be seen by a later one. It is the rest of D's way: x_0 = D(x_0, 0), so the step to
    0 misses D(0) - D(sigma). The same model says how D should have changed over the step before, and that is what is
    judged, with v the change it predicted and e the change seen. Nobody comes after who could tell chance from law, so
    T is at most the share of e that v explains, <e, v>^2/(<e, e> <v, v>).

Two kinds of step are left plain, sample by sample: one at which the model gave its last output again, or its last
difference from the input, as step caches do, for that is no evidence; and all that follow one whose error, less the
claim, was more than half of the noise that the step took away: such a run has left its trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..base import RunFacts
from .rule import CalibratedRule


@dataclass(frozen=True)
class Calibrated:
    """The calibrated rule; see the module's text. Nothing to choose."""

    mode: ClassVar[str] = "calibrated"
    corrects: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()

    @property
    def settings(self) -> Mapping[str, float]:
        return {}

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Calibrated:
        return cls()

    def begin(self, run: RunFacts) -> CalibratedRule:
        return CalibratedRule(run)
