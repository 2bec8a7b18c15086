"""The rules that turn an embedded pair into a correction, one a file."""

from .base import HELD, Correction, Guidance, MadeStep, Rule, Run
from .calibrated import Calibrated
from .off import Off
from .paper import Paper, paper_preset

MODES = ("calibrated", "paper", "off")
"""What ``mode`` may be; the first is the default."""

__all__ = ["HELD", "MODES", "Calibrated", "Correction", "Guidance", "MadeStep", "Off", "Paper", "Rule", "Run", "paper_preset"]
