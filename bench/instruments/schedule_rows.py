"""The rows of bench.schedules, and which of its models helped to choose something."""

from __future__ import annotations

from dataclasses import dataclass

CHOSEN_BY = (
    "gaussian-rotated", "spiral-0.10", "mixture-8x8", "digits-0.30", "digits-cfg-4", "mixture-cfg-4",
    "even-colour", "gaussian-patches", "mixture-3x16x16", "gratings", "line-art-cfg-4", "patches-0.10", "line-art-0.02",
)  # fmt: skip
"""The problems by which the plan and the estimate, and their constants, were chosen: their figures are not held out."""


@dataclass(frozen=True)
class Row:
    """One run along one schedule.

    error      mean over the samples of the RMS distance to the converged solution
    contrast   of the converged pictures
    predicted  the plan's own prediction for it, over the contrast; NaN for others
    given      the same for the traced schedule
    seconds    that planning took
    """

    problem: str
    kind: str
    budget: int
    sampler: str
    schedule: str
    error: float
    contrast: float
    predicted: float
    given: float
    seconds: float


@dataclass(frozen=True)
class ErrorRow:
    """One run's estimate of its own error, and the true one, both over the picture's contrast.

    estimate  mean over the samples; NaN where it says that it cannot tell
    """

    problem: str
    kind: str
    schedule: str
    budget: int
    sampler: str
    mode: str
    estimate: float
    true: float
