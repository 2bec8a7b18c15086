"""Distances to the converged latent, and what they say of samplers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..traces.language import tell
from .counting import Plan
from .running import Outcome


@dataclass(frozen=True)
class Row:
    """One sampler at one number of calls.

    plan     what was to be run
    outcome  what came of it; None while it has not been run
    errors   one for each picture of the batch; empty where there is no latent or no reference
    """

    plan: Plan
    outcome: Outcome | None = None
    errors: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.outcome.calls if self.outcome is not None else self.plan.calls

    @property
    def median(self) -> float:
        return statistics.median(self.errors) if self.errors else math.nan

    @property
    def mean(self) -> float:
        return statistics.fmean(self.errors) if self.errors else math.nan

    @property
    def note(self) -> str:
        """Why there is no error, or what is odd about it."""
        if self.plan.sigmas is None:
            return tell("needs %s calls or more", self.plan.calls)
        if self.outcome is None:
            return tell("not run")
        if self.outcome.note:
            return tell(self.outcome.note)
        spoilt = sum(not math.isfinite(error) for error in self.errors)
        if spoilt:
            return tell("not finite in %s of %s pictures", spoilt, len(self.errors))
        return tell("chooses its own steps") if self.plan.adaptive else ""


@dataclass(frozen=True)
class Comparison:
    """All rows, sampler by sampler in the order given, and what they are measured by.

    reference   the long run; its errors are its own: the distance to a run of half as many calls
    stochastic  labels of samplers that draw noise
    complete    whether all has been run
    """

    reference: Row
    rows: list[Row]
    stochastic: frozenset[str] = frozenset()
    complete: bool = True

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(row.plan.entry.label for row in self.rows))

    @property
    def budgets(self) -> list[int]:
        return sorted({row.plan.budget for row in self.rows})

    @property
    def floor(self) -> float:
        """The reference's own error: distances below it say nothing. NaN where it is not known."""
        return self.reference.median

    @property
    def added(self) -> float:
        """How far the reference is from the model's own last prediction: a sampler whose last step to sigma 0 is a
        plain one stays about that far away. NaN where that is no more than the reference's own error.
        """
        added = self.reference.outcome.added if self.reference.outcome is not None else ()
        median = statistics.median(added) if added else math.nan
        return median if median > self.floor else math.nan

    def shown(self, label: str) -> str:
        """A sampler's label for people."""
        return tell("%s (stochastic)", label) if label in self.stochastic else label

    def row(self, label: str, budget: int) -> Row | None:
        return next((row for row in self.rows if row.plan.entry.label == label and row.plan.budget == budget), None)

    def curve(self, label: str) -> list[tuple[int, float]]:
        """Model calls and median errors of one sampler, by calls, where the error is finite and above 0."""
        rows = [row for row in self.rows if row.plan.entry.label == label and 0 < row.median < math.inf]
        return sorted((row.calls, row.median) for row in rows)


def calls_to_reach(curve: Sequence[tuple[int, float]], error: float) -> float | None:
    """Where a curve of (calls, error) first comes down to an error: both logarithms are interpolated between
    neighbouring runs. None where no run came so near; the first run's calls where it already is.
    """
    before: tuple[int, float] | None = None
    for calls, reached in curve:
        if reached <= error:
            if before is None:
                return float(calls)
            share = math.log(before[1] / error) / math.log(before[1] / reached)
            return before[0] * (calls / before[0]) ** share
        before = (calls, reached)
    return None


def sentence(comparison: Comparison) -> str:
    """What the comparison says, in one sentence: how many calls others need for what the nearest has at the middle
    number of calls. Nothing is extrapolated beyond what was run. Samplers that draw noise are left out: they do not
    aim at the converged picture.
    """
    curves = {label: comparison.curve(label) for label in comparison.labels if label not in comparison.stochastic}
    # The lower one of two in the middle: others need more calls, and those shall have been run.
    pivot = comparison.budgets[(len(comparison.budgets) - 1) // 2]
    rows = [row for label in curves if (row := comparison.row(label, pivot)) is not None and 0 < row.median < math.inf]
    if not rows:
        return tell("No run of %s calls can be compared yet.", pivot)
    nearest = min(rows, key=lambda row: row.median)
    name = tell("%s at %s calls", nearest.plan.entry.label, nearest.calls)
    if comparison.floor >= nearest.median:
        return tell(
            "%s is within the converged picture's own error (%s): raise reference.", name, f"{comparison.floor:.2g}"
        )
    others = {label: curve for label, curve in curves.items() if curve and label != nearest.plan.entry.label}
    if not others:
        return tell(
            "%s is %s of the picture's own spread away from the converged picture.", name, f"{nearest.median:.2g}"
        )
    reached, beyond = [], {}
    for label, curve in others.items():
        calls = calls_to_reach(curve, nearest.median)
        if calls is None:
            beyond.setdefault(curve[-1][0], []).append(label)
        else:
            reached.append(tell("%s at %s", label, math.ceil(calls - 1e-9)))
    groups = [*reached, *(tell("%s at more than %s", _listed(labels), most) for most, labels in beyond.items())]
    return tell("%s is as near as %s.", name, _listed(groups))


def _listed(parts: list[str]) -> str:
    """As people list things; with a comma more where the last one is a list itself."""
    *first, last = parts
    if not first:
        return last
    if tell("%s and %s", "", "") in last:
        return tell("%s, and %s", ", ".join(first), last)
    return tell("%s and %s", ", ".join(first), last)
