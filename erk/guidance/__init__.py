"""The rules that turn an embedded pair into a correction, one a file."""

from .base import Correction, Guidance, MadeStep
from .off import Off
from .paper import Paper, paper_preset

MODES = ("paper", "off")
"""What ``mode`` may be; the first is the default."""

__all__ = ["MODES", "Correction", "Guidance", "MadeStep", "Off", "Paper", "paper_preset"]
