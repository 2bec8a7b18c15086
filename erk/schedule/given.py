"""The traced schedule at another number of steps, and whether traces can be planned from at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from ..trace import Trace

FEWEST = 4
"""Levels that a traced run must have visited, to tell how D bends."""

_SAME = 0.05
"""Levels as near to one another as that count as the same."""


def given_levels(levels: Sequence[float], steps: int, sigma_min: float | None) -> list[float]:
    """[steps + 1] noise levels of the traced schedule: ``levels`` read off between their places.

    A schedule whose last level above 0 is the model's least keeps it, as ComfyUI's schedulers of that kind do at any
    number of steps; the others keep their pace.
    """
    levels = [levels[0], *(b for a, b in itertools.pairwise(levels) if b != a)]
    if len(levels) == steps + 1:
        return levels
    if steps == 1:
        return [levels[0], levels[-1]]
    if levels[-1] == 0 and sigma_min is not None and levels[-2] <= sigma_min * (1 + _SAME):
        return [*_read_off([math.log(level) for level in levels[:-1]], steps - 1, math.exp), 0.0]
    return _read_off(levels, steps, float)


def _read_off(values: Sequence[float], steps: int, back: Callable[[float], float]) -> list[float]:
    """steps + 1 values, evenly placed; linear between the given ones."""
    made: list[float] = []
    for k in range(steps + 1):
        place = k * (len(values) - 1) / steps
        left = min(int(place), len(values) - 2)
        made.append(back(values[left] + (place - left) * (values[left + 1] - values[left])))
    return made


def check_traces(traces: Sequence[Trace]) -> Sequence[Trace]:
    """The same. Raises TypeError or ValueError where nothing can be planned from them."""
    if not traces:
        raise ValueError("ERK-Guid: there is no trace to plan from: give one at least.")
    for one in traces:
        _check(one)
    first = traces[0].info
    for other in traces[1:]:
        assert first is not None and other.info is not None
        if other.info.model != first.model or not _alike(other.info.sigma_min, first.sigma_min):
            raise ValueError(
                "ERK-Guid: the traces are of different models: plan from runs of one model, of other prompts and seeds."
            )
        for name, place in (("first", 0), ("last", -1)):
            if not _alike(other.info.sigmas[place], first.sigmas[place]):
                raise ValueError(
                    f"ERK-Guid: the traces have different {name} levels, sigma {first.sigmas[place]:.4g} and "
                    f"{other.info.sigmas[place]:.4g}: plan from runs with the same denoise and the same steps of a "
                    "schedule."
                )
    return traces


def _check(trace: Trace) -> None:
    if not isinstance(trace, Trace):
        raise TypeError(
            f"ERK-Guid: trace is a {type(trace).__name__}: connect the trace output of an ERK-Guid sampler."
        )
    if trace.info is None or not len(trace):
        raise ValueError(
            "ERK-Guid: the trace is empty, no step has been sampled yet: plan after the run (connect the sampler's "
            "latent as well, so that it runs first)."
        )
    levels = trace.info.sigmas
    if any(later > earlier for earlier, later in itertools.pairwise(levels)):
        raise ValueError("ERK-Guid: the traced schedule goes upwards: plan from a run that goes from noise to picture.")
    if len(trace) < len(levels) - 1:
        raise ValueError(
            f"ERK-Guid: the traced run was cut off after {len(trace)} of {len(levels) - 1} steps: let it finish."
        )
    if not trace.predictions:
        raise ValueError(
            "ERK-Guid: the trace holds no predictions, which a plan is made from: sample again with another seed while "
            "the planning node is connected, or with erk.Trace(keep=True)."
        )
    distinct = len({prediction.sigma for prediction in trace.predictions if prediction.sigma > 0})
    if distinct < FEWEST:
        raise ValueError(
            f"ERK-Guid: the traced run has {distinct} noise level{'s' if distinct != 1 else ''}, and {FEWEST} are the "
            "fewest that tell how the path bends: trace 8 steps or more."
        )
    if not all(bool(prediction.denoised.isfinite().all()) for prediction in trace.predictions):
        raise ValueError(
            "ERK-Guid: the traced run's predictions are not all finite (NaN or infinite): trace a run that gives a "
            "picture."
        )


def _alike(a: float | None, b: float | None) -> bool:
    return a == b if a is None or b is None else math.isclose(a, b, rel_tol=1e-2)
