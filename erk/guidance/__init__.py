"""The rules that turn what a step reveals into a correction, one rule per file.

To add a rule, add its file and its name here. See docs/adding_a_rule.md.
"""

from __future__ import annotations

from .base import HELD, AddedNoise, Correction, Earlier, Guidance, MadeStep, Rule, RunFacts
from .calibrated import Calibrated
from .off import Off
from .paper import Paper, paper_preset

ALL = (Calibrated, Paper, Off)

GUIDANCES: dict[str, type[Guidance]] = {guidance.mode: guidance for guidance in ALL}
"""The rules by mode. The first is the default."""

MODES = tuple(GUIDANCES)
"""The allowed values of ``mode``."""

SETTINGS = tuple(name for guidance in GUIDANCES.values() for name in guidance.options)
"""The names of all settings, over all rules."""

__all__ = [
    "GUIDANCES",
    "HELD",
    "MODES",
    "SETTINGS",
    "AddedNoise",
    "Calibrated",
    "Correction",
    "Earlier",
    "Guidance",
    "MadeStep",
    "Off",
    "Paper",
    "Rule",
    "RunFacts",
    "paper_preset",
]
