"""The solvers, one per file. To add one, add its file and its name here. See docs/adding_a_solver.md."""

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
"""The solvers by name, in the order of ComfyUI's list. There, each name follows ``erk_``."""

__all__ = ["ABM", "DEIS", "DPM2", "SOLVERS", "DPMpp2S", "Euler", "Heun", "History", "Multistep", "Solver", "Step"]
