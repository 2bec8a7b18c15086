"""What a run that ended above sigma 0 hands on to the run that continues it, so that both together equal one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluation import Evaluation
from .guidance import Rule
from .noise_process import NoiseProcess
from .norms import inner
from .probe import probe
from .solvers import History as Points
from .solvers import Solver

_PROBED = 4096
"""How many numbers of each sample's D are kept for the comparison of two models, at most."""

Predictions = tuple[tuple[float, Tensor], ...]
"""(noise level, some numbers of D there [B, n] float32) of the last two levels, newest first."""


@dataclass(frozen=True)
class Continuation:
    """The memory of a run that has ended above sigma 0. It may be used more than once.

    x            the state that the run returned, [B, ...]
    levels       the last two noise levels of its schedule that differ: the last one is where it ended
    solver, mode, region  what it was run with
    points       its past evaluations, newest first
    rule         its rule; None if nobody looked
    predictions  what tells whether another model agrees with this one
    same_model   whether the model of the run that continues is known to be the same. If not, the memory is used only if
                 that model's first evaluation agrees with it.
    """

    x: Tensor
    levels: tuple[float, float]
    solver: Solver
    mode: str
    region: Tensor | None
    points: Points
    rule: Rule | None
    predictions: Predictions
    same_model: bool = True

    def leads_to(self, x: Tensor, schedule: Sequence[float], solver: Solver, mode: str, region: Tensor | None) -> bool:
        """Whether a run that starts like this goes on where this one ended. The values of x are not looked at."""
        before, level = self.levels
        onward = next((sigma for sigma in schedule if sigma != level), level)
        return (
            schedule[0] == level
            and (onward - level) * (level - before) > 0
            and (solver, mode) == (self.solver, self.mode)
            and (x.shape, x.dtype, x.device) == (self.x.shape, self.x.dtype, self.x.device)
            and _equal(region, self.region)
        )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.device == b.device and torch.equal(a, b)


def with_prediction(predictions: Predictions, evaluated: Evaluation) -> Predictions:
    """The predictions with one more. A second one at the same level replaces the first."""
    x, d = probe(evaluated.x, _PROBED), probe(evaluated.d, _PROBED)
    earlier = [one for one in predictions if one[0] != evaluated.sigma]
    return ((evaluated.sigma, x - evaluated.sigma * d), *earlier[:1])


def agrees(predictions: Predictions, evaluated: Evaluation, process: NoiseProcess, region: Tensor | None) -> bool:
    """Whether an evaluation goes on as D has moved before, in every sample. This waits for the device.

    The step after a cut extrapolates how D moved up to the evaluation there. That is better than nothing where this is
    nearer to how D moved one level before than to no change at all.
    """
    if len(predictions) < 2:
        return False
    ((sigma, newest), (sigma_before, before)), (_, found) = predictions, with_prediction((), evaluated)[0]
    predicted, moved = newest - before, found - newest
    return bool((inner(predicted, moved) > 0.5 * inner(predicted, predicted)).all())
