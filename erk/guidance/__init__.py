"""The rules that turn what a step tells into a correction, one a file.

A new one is its file and its name here: docs/adding_a_rule.md.
"""

from __future__ import annotations

from .base import HELD, Correction, Guidance, MadeStep, Rule, RunFacts
from .calibrated import Calibrated
from .off import Off
from .paper import Paper, paper_preset

ALL = (Calibrated, Paper, Off)

GUIDANCES: dict[str, type[Guidance]] = {guidance.mode: guidance for guidance in ALL}
"""By mode; the first is the default."""

MODES = tuple(GUIDANCES)
"""What ``mode`` may be."""

SETTINGS = tuple(name for guidance in GUIDANCES.values() for name in guidance.options)
"""What can be set of any rule."""

__all__ = [
    "GUIDANCES",
    "HELD",
    "MODES",
    "SETTINGS",
    "Calibrated",
    "Correction",
    "Guidance",
    "MadeStep",
    "Off",
    "Paper",
    "Rule",
    "RunFacts",
    "paper_preset",
]
