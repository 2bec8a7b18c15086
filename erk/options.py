"""From the options people give to a guidance and a solver, checked before any model call."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real

from .guidance import MODES, Calibrated, Guidance, Off, Paper, paper_preset
from .noise_process import NoiseProcess
from .solvers import DEIS, SOLVERS, Multistep, Solver
from .solvers.deis import Coefficients


def make_guidance(mode: str, w_stiff: float | None, w_con: float | None, steps: int) -> Guidance:
    """The guidance for a run of ``steps`` steps.

    In mode "paper" a strength that is None comes from :func:`paper_preset`; in the other modes the
    strengths are checked and unused.

    Raises ValueError for an unknown mode or a strength that is negative or not finite, TypeError for
    a strength that is no number.
    """
    if mode not in MODES:
        raise ValueError(f"ERK-Guid: mode is {mode!r}, but must be one of {', '.join(map(repr, MODES))}.")
    _check_strength("w_stiff", w_stiff)
    _check_strength("w_con", w_con)
    if mode == "calibrated":
        return Calibrated()
    if mode == "off":
        return Off()
    preset_stiff, preset_con = paper_preset(steps)
    return Paper(
        w_stiff=preset_stiff if w_stiff is None else float(w_stiff),
        w_con=preset_con if w_con is None else float(w_con),
    )


def make_solver(name: str, process: NoiseProcess, max_order: int | None = None, coefficients: Coefficients | None = None) -> Solver:
    """The solver of that name for that kind of model.

    max_order     order of a multistep method, 2 to 4 (None: 3); the other solvers take none
    coefficients  DEIS weights of another implementation

    Raises ValueError for an unknown solver, an order out of range or an option that the solver does not have, TypeError for
    an order that is no whole number.
    """
    if name not in SOLVERS:
        raise ValueError(f"ERK-Guid: solver is {name!r}, but must be one of {', '.join(map(repr, SOLVERS))}.")
    solver = SOLVERS[name](process)
    if max_order is not None:
        if not isinstance(solver, Multistep):
            raise ValueError(f"ERK-Guid: max_order is {max_order!r}, but {name} has a fixed order: leave it out.")
        if isinstance(max_order, bool) or not isinstance(max_order, int):
            raise TypeError(f"ERK-Guid: max_order is {max_order!r}, but must be a whole number from 2 to 4.")
        if not 2 <= max_order <= 4:
            raise ValueError(f"ERK-Guid: max_order is {max_order}, but must lie between 2 and 4.")
        solver = replace(solver, max_order=max_order)
    if coefficients is not None:
        if not isinstance(solver, DEIS):
            raise ValueError(f"ERK-Guid: coefficients are weights of DEIS, and {name} takes none: leave them out.")
        solver = replace(solver, coefficients=coefficients)
    return solver


def _check_strength(name: str, value: float | None) -> None:
    if value is None:
        return
    way_out = "give a finite number that is not negative, or leave it out to use the paper's preset"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"ERK-Guid: {name} is {value!r}, which is no number: {way_out}.")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"ERK-Guid: {name} is {value}: {way_out}.")
