"""The solvers, one per file. To add one, add its file and its name here. See docs/adding_a_solver.md."""

from __future__ import annotations

from .abm import ABM
from .ancestral import Ancestral, DPMpp2SAncestral, EulerAncestral
from .base import History, NoiseStep, Solver, Step
from .deis import DEIS
from .dpm_2 import DPM2
from .dpmpp_2s import DPMpp2S
from .euler import Euler
from .heun import Heun
from .multistep import Multistep

ALL = (Heun, DPM2, DPMpp2S, DEIS, ABM, Euler)

WITH_NOISE = (EulerAncestral, DPMpp2SAncestral)

SOLVERS: dict[str, type[Solver]] = {solver.name: solver for solver in ALL}
"""The solvers of the ODE by name, in the order of ComfyUI's list. There, each name follows ``erk_``."""

NOISY: dict[str, type[Ancestral]] = {solver.name: solver for solver in WITH_NOISE}
"""The solvers that add noise, in the same way. They follow the others in ComfyUI's list."""

__all__ = [
    "ABM",
    "DEIS",
    "DPM2",
    "NOISY",
    "SOLVERS",
    "Ancestral",
    "DPMpp2S",
    "Euler",
    "Heun",
    "History",
    "Multistep",
    "NoiseStep",
    "Solver",
    "Step",
]
