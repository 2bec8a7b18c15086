"""What a plan, and a run's own error, are in words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ... import erk
from .words import SMALL, percent

_COUNTS: tuple[int, ...] = (4, 6, 8, 10, 12, 16, 20, 25, 30, 40)


def as_levels(sigmas: Sequence[float]) -> str:
    """As ComfyUI's ManualSigmas reads them: plain decimals, for it knows no exponents."""
    return ", ".join(f"{sigma:.7f}".rstrip("0").rstrip(".") if sigma else "0" for sigma in sigmas)


def summary(plan: erk.Plan) -> str:
    """What was planned, in one or two sentences."""
    count = len(plan.step_errors)
    steps = f"{count} step{'' if count == 1 else 's'}"
    if not plan.is_better:
        return (
            f"No better schedule of {steps} was found: these are the traced schedule's levels. Solver error "
            f"{percent(plan.given_error)} of the picture's contrast, a rough estimate."
        )
    return (
        f"{steps}: solver error {percent(plan.predicted_error)} of the picture's contrast, with the traced schedule "
        f"{percent(plan.given_error)}. These are rough estimates: compare both pictures."
    )


def advice(planner: erk.Planner) -> str:
    """How many planned steps are enough, in one sentence."""
    found = itertools.accumulate((planner.plan(count).predicted_error for count in _COUNTS), min)
    errors = dict(zip(_COUNTS, found, strict=True))
    enough = next((count for count, error in errors.items() if error < SMALL), None)
    if enough is None:
        return f"At {_COUNTS[-1]} steps it would still be {percent(errors[_COUNTS[-1]])}."
    few = max((count for count in _COUNTS if count <= max(enough // 2, _COUNTS[0])), default=_COUNTS[0])
    start = f"At {few} steps {percent(errors[few])}, at" if few < enough else "At"
    return f"{start} {enough} {percent(errors[enough])}: by this estimate more steps change nothing you can see."
