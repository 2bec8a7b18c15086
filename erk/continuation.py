"""What a run that ended above sigma 0 hands on to the run that continues it, so that both together equal one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .evaluation import Evaluation
from .noise_process import NoiseProcess
from .norms import inner
from .probe import probe
from .solvers import History as Points
from .solvers import Solver

_PROBED = 4096
"""How many numbers of each sample's D are kept for the comparison of two models, at most."""

_APART = 0.5
"""How far from there D may be, squared and as a share of the squared way.

Measured with pairs of exact models, from equal to unrelated ones, as the error behind the cut over that of a second run
that begins anew: 0.78 at 8 steps and 0.79 at 20 (always used: 0.98 and 1.21). Any value from 0.2 to 0.7 does as well.
"""

Predictions = tuple[tuple[float, Tensor], ...]
"""(noise level, some numbers of D there [B, n] float32) of the last two levels, newest first."""


@dataclass(frozen=True)
class Continuation:
    """The memory of a run that has ended above sigma 0. It may be used more than once.

    x            a copy of the state that the run returned, [B, ...]
    levels       the last two noise levels of its schedule that differ: the last one is where it ended
    solver, mode, region, parts  what it was run with
    points       its past evaluations, newest first
    memory       its rule's memory; None if it has none
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
    memory: Any
    predictions: Predictions
    parts: tuple[torch.Size, ...] = ()
    same_model: bool = True

    def leads_to(
        self, x: Tensor, schedule: list[float], solver: Solver, mode: str, region: Tensor | None,
        parts: tuple[torch.Size, ...] = (),
    ) -> bool:  # fmt: skip
        """Whether a run that starts like this goes on where this one ended. The values of x are not looked at."""
        before, level = self.levels
        onward = next((sigma for sigma in schedule if sigma != level), level)
        return (
            schedule[:1] == [level]
            and (onward - level) * (level - before) > 0
            and (solver, mode) == (self.solver, self.mode)
            and (x.shape, x.dtype, parts) == (self.x.shape, self.x.dtype, self.parts)
            and _equal(region, self.region)
        )

    def check(
        self, x: Tensor, schedule: list[float], solver: Solver, mode: str, region: Tensor | None,
        parts: tuple[torch.Size, ...] = (),
    ) -> None:  # fmt: skip
        """Raises ValueError where it does not lead to such a run."""
        if not self.leads_to(x, schedule, solver, mode, region, parts):
            raise ValueError(
                f"ERK-Guid: earlier is a run of {self.solver.name} in mode {self.mode!r} that ended at sigma "
                f"{self.levels[1]}, but this is one of {solver.name} in mode {mode!r} from {schedule[0]}, or the "
                "latent, its parts or its region differ: continue with the same options, or leave earlier out."
            )

    def to(self, device: torch.device | str) -> Continuation:
        """The same on another device."""
        return replace(self, **{part: _moved(getattr(self, part), device) for part in _OF_TENSORS})

    @property
    def bytes(self) -> int:
        """How much memory it holds."""
        return sum(_bytes(getattr(self, part)) for part in _OF_TENSORS)


_OF_TENSORS = ("x", "region", "points", "memory", "predictions")


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return torch.equal(a, b.to(a.device))


def _moved(value: Any, device: torch.device | str) -> Any:
    """Tensors in tuples, however deep."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        parts = [_moved(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(_bytes(part) for part in value) if isinstance(value, tuple) else 0


def with_prediction(predictions: Predictions, evaluated: Evaluation) -> Predictions:
    """The predictions with one more. A second one at the same level replaces the first."""
    x, d = probe(evaluated.x, _PROBED), probe(evaluated.d, _PROBED)
    earlier = [one for one in predictions if one[0] != evaluated.sigma]
    return ((evaluated.sigma, x - evaluated.sigma * d), *earlier[:1])


def agrees(predictions: Predictions, evaluated: Evaluation, process: NoiseProcess, region: Tensor | None) -> bool:
    """Whether an evaluation goes on as D has moved before, in every sample. This waits for the device.

    D is taken to move evenly with the share of noise, sigma^2/(alpha^2 + sigma^2).
    """
    if len(predictions) < 2:
        return False
    (found, newest, before), levels = _sampled(evaluated, predictions, region)
    now, last, earlier = (sigma**2 / (process.alpha(sigma) ** 2 + sigma**2) for sigma in levels)
    going = (newest - before) * ((now - last) / (last - earlier))
    apart = found - newest - going
    return bool((inner(apart, apart) < _APART * inner(going, going)).all())


def _sampled(
    evaluated: Evaluation, predictions: Predictions, region: Tensor | None
) -> tuple[list[Tensor], list[float]]:
    """The evaluation's D and the predictions, in the sampled region, and their levels, newest first."""
    mask = 1.0 if region is None else probe(region.expand_as(evaluated.x), _PROBED)
    seen = [with_prediction((), evaluated)[0], *predictions]
    return [numbers * mask for _, numbers in seen], [sigma for sigma, _ in seen]
