"""The solvers, one a file. A new one is its file and its name here: docs/adding_a_solver.md."""

from __future__ import annotations

from .abm import ABM
from .base import History, Solver, Step
from .deis import DEIS
from .dpm_2 import DPM2
from .dpmpp_2s import DPMpp2S
from .euler import Euler
from .heun import Heun
from .multistep import Multistep

ALL = (Heun, DPM2, DPMpp2S, DEIS, ABM, Euler)

SOLVERS: dict[str, type[Solver]] = {solver.name: solver for solver in ALL}
"""By the name that stands behind ``erk_`` in ComfyUI's list, in the list's order."""

__all__ = ["ABM", "DEIS", "DPM2", "SOLVERS", "DPMpp2S", "Euler", "Heun", "History", "Multistep", "Solver", "Step"]
