"""The words in plots: counts, and why a value is missing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .language import tell, translatable

if TYPE_CHECKING:
    from .runs import TracedRun


WHAT_TO_DO = translatable(
    "Where h*rho-hat is above 1, a step is too long: use more steps, or a scheduler that puts more of them there."
)
"""What to do about a high value: the same sentence on the nodes, in the chart, in the help pages and in the docs."""


SMALL = 0.01
"""An error that nobody sees, over the picture's contrast."""


def percent(error: float) -> str:
    """An estimate, told as roughly as it is known."""
    if error < SMALL:
        return tell("below 1 %")
    if error > 1:
        return tell("above 100 %")
    return tell("about %s %", f"{100 * error:.0f}")


def solver_error(run: TracedRun) -> str:
    """How wrong the picture still is, and with how many steps it would not be. Empty where that is unknown."""
    error = _median(run.trace.error)
    if error is None:
        return ""
    if error < SMALL:
        return tell("solver error: below 1 % of the contrast; more steps change nothing you can see")
    steps = len(run.steps)
    more = next((count for count in range(steps + 1, 2 * steps) if _at(run, count) < SMALL), 2 * steps)
    return tell("solver error: %s of the contrast, with %s steps %s", percent(error), more, percent(_at(run, more)))


def _at(run: TracedRun, steps: int) -> float:
    return _median(run.trace.error_at(steps)) or 0.0


def _median(errors: Sequence[float]) -> float | None:
    finite = [error for error in errors if math.isfinite(error)]
    return statistics.median(finite) if finite else None


def steps_in_words(number: int) -> str:
    return tell("1 step") if number == 1 else tell("%s steps", number)


def calls_in_words(number: int) -> str:
    return tell("1 model call") if number == 1 else tell("%s model calls", number)


def why_nothing(run: TracedRun, values: str) -> str:
    """Why no step of a run has a drawable value of `values`, a field of StepRecord, in words."""
    mode = run.trace.info.mode if run.trace.info else ""
    if not run.steps:
        return tell("empty, no step has been sampled yet")
    if values == "data_std" and mode != "calibrated":
        return tell("mode %s makes no estimate of S", mode) if mode else tell("no estimate of S")
    if len(run.steps) == 1 and all(math.isnan(value) for value in getattr(run.steps[0], values)):
        return tell("one step only, so there are not two states to compare")
    if values == "data_std":
        return tell("no step allows an estimate of S")
    if values == "correction":
        return tell("no finite value in any step")
    return tell("no finite value above 0 in any step")


def what_is_odd(run: TracedRun, values: str) -> str:
    """Which steps have values that are not finite but should be, in words. Empty if there are none.

    NaN is normal at the first step of a solver whose pair looks back, and at the last step of a solver whose
    pair is inside the step. S is NaN at any step where no data could explain the pair.
    """
    odd = [
        step.index
        for step in run.steps
        if any(_is_odd(value, step.index, len(run.steps), values) for value in getattr(step, values))
    ]
    if not odd:
        return ""
    return tell("not finite at steps %s", _listed(odd)) if len(odd) > 1 else tell("not finite at step %s", odd[0])


def _is_odd(value: float, index: int, steps: int, values: str) -> bool:
    if math.isfinite(value):
        return False
    if not math.isnan(value) or values == "correction":
        return True
    return values != "data_std" and index not in (0, steps - 1)


def _listed(numbers: list[int]) -> str:
    shown = [str(number) for number in numbers[:6]]
    if len(numbers) > len(shown):
        return tell("%s and %s more", ", ".join(shown), len(numbers) - len(shown))
    return tell("%s and %s", ", ".join(shown[:-1]), shown[-1]) if len(shown) > 1 else shown[0]
