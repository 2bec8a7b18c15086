"""The rows of bench.schedules, and those of its models that are not of the suite."""

from __future__ import annotations

from dataclasses import dataclass

DATA_SETS = ("swissroll", "swissroll-1000", "tree", "tree-deep")
GALAXIES = ("HSC 32", "HSC 64", "ZTF 32")
PHOTOGRAPHS = {"photographs": 1.0, "photographs cfg 3": 3.0, "photographs cfg 7": 7.0}
"""By guidance scale."""


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
