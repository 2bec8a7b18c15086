"""The solvers, one a file. A new one is a class of about twenty lines and an entry here."""

from __future__ import annotations

from collections.abc import Callable

from ..noise_process import NoiseProcess
from .abm import ABM
from .base import History, Solver, Step
from .deis import DEIS
from .dpm_2 import DPM2
from .dpmpp_2s import DPMpp2S
from .euler import Euler
from .heun import Heun

SOLVERS: dict[str, Callable[[NoiseProcess], Solver]] = {
    "heun": lambda process: Heun(),
    "dpm_2": lambda process: DPM2(),
    "dpmpp_2s": lambda process: DPMpp2S(process),
    "deis": lambda process: DEIS(),
    "abm": lambda process: ABM(process),
    "euler": lambda process: Euler(),
}
"""Solver for a kind of model, by the name that stands behind ``erk_`` in ComfyUI's list."""

MULTISTEP = (DEIS, ABM)
"""The solvers whose order can be chosen, as ``max_order``."""

__all__ = ["ABM", "DEIS", "DPM2", "MULTISTEP", "SOLVERS", "DPMpp2S", "Euler", "Heun", "History", "Solver", "Step"]
