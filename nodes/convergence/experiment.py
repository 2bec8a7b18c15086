"""All runs of a Convergence Test: the long one first, then from few calls to many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from .comparison import Comparison, Row
from .counting import Counter
from .distances import relative_errors
from .entries import Entry
from .keeping import Kept
from .running import Progress, Setting
from .schedules import Schedule

BEST = Entry("erk_abm max_order=4", "erk_abm", (("max_order", 4),))
"""What the converged picture is made with: of our samplers and the usual ones it was, on the demo model, nearest to the
end of the ODE at 200 calls with most schedulers and cfg, and at worst twice as far as the nearest.
"""


class Experiment:
    """Plans everything, so that a mistake is told before the model is called; then runs it.

    entries, budgets  the samplers, and numbers of model calls
    reference         calls of the long run, which is made with twice as many too; at least the largest budget
    schedule          of all runs but the long ones
    long_schedule     of these

    progress  the bar over all runs, from :meth:`run` on
    """

    progress: Progress

    def __init__(
        self, setting: Setting, entries: Sequence[Entry], budgets: Sequence[int], reference: int, schedule: Schedule,
        long_schedule: Schedule, kept: Kept,
    ) -> None:  # fmt: skip
        self._setting, self._kept = setting, kept
        model_sampling = setting.model.get_model_object("model_sampling")
        counter, long = Counter(model_sampling, schedule), Counter(model_sampling, long_schedule)
        self._half, self._whole = (
            Row(plan) for plan in long.plans(BEST, [max(reference, *budgets), 2 * max(reference, *budgets)])
        )
        self._rows = [Row(plan) for entry in entries for plan in counter.plans(entry, budgets)]
        self._stochastic = frozenset(entry.label for entry in entries if counter.is_stochastic(entry))

    def run(self) -> Comparison:
        """Raises what the sampling raises; :attr:`comparison` has what there was before."""
        order = sorted(range(len(self._rows)), key=lambda i: self._rows[i].plan.budget)
        plans = [self._half.plan, self._whole.plan, *(row.plan for row in self._rows)]
        to_do = [plan for plan in plans if plan.sigmas is not None and self._kept.get(plan.entry, plan.sigmas) is None]
        self.progress = progress = Progress(self._setting.model, sum(plan.calls for plan in to_do))
        self._half = self._made(self._half, progress)
        self._whole = self._made(self._whole, progress)
        for i in order:
            self._rows[i] = self._made(self._rows[i], progress)
        return self.comparison

    @property
    def comparison(self) -> Comparison:
        """What has been run up to now, measured by the longest run that there is."""
        half, whole = self._half, self._whole
        reference = whole if _latent(whole) is not None else half
        aim = _latent(reference)
        if reference is whole:  # its own error: how far the shorter one is from it
            reference = replace(whole, errors=_measured(half, aim).errors)
        rows = [_measured(row, aim) for row in self._rows]
        complete = all(row.outcome is not None or row.plan.sigmas is None for row in [half, whole, *rows])
        return Comparison(reference, rows, self._stochastic, complete)

    def _made(self, row: Row, progress: Progress) -> Row:
        plan = row.plan
        if plan.sigmas is None:
            return row
        outcome = self._kept.get(plan.entry, plan.sigmas)
        if outcome is None:
            outcome = self._setting.run(plan.entry, plan.sigmas, progress)
            self._kept.put(plan.entry, plan.sigmas, outcome)
            progress.finished(plan.calls)
        return replace(row, outcome=outcome)


def _latent(row: Row) -> Tensor | None:
    return row.outcome.latent if row.outcome is not None else None


def _measured(row: Row, aim: Tensor | None) -> Row:
    latent = _latent(row)
    return row if latent is None or aim is None else replace(row, errors=relative_errors(latent, aim))
