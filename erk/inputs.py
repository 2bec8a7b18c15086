"""Checks of the options and the schedule, before any model call."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor

from .guidance import GUIDANCES, SETTINGS, Guidance
from .noise_process import NoiseProcess
from .solvers import DEIS, NOISY, SOLVERS, Ancestral, Multistep, Solver
from .solvers.deis import Coefficients


def make_guidance(
    mode: str, w_stiff: float | None, w_con: float | None, steps: int, **settings: float | None
) -> Guidance:
    """The guidance for a run of ``steps`` steps.

    w_stiff, w_con, settings  the rules' numbers. None means the rule's own choice, which in mode "paper" is
    :func:`paper_preset`. All of them are checked. Settings of other modes are not used.

    Raises ValueError for an unknown mode, and for a number that is negative or not finite. Raises TypeError for
    a setting that no rule has, and for one that is not a number.
    """
    if mode not in GUIDANCES:
        raise ValueError(f"ERK-Guid: mode is {mode!r}, but must be one of {', '.join(map(repr, GUIDANCES))}.")
    given = {"w_stiff": w_stiff, "w_con": w_con, **settings}
    for name, value in given.items():
        _check_setting(name, value)
    guidance = GUIDANCES[mode]
    own = {name: float(value) for name, value in given.items() if name in guidance.options and value is not None}
    return guidance.of(own, steps)


def make_solver(
    name: str,
    process: NoiseProcess,
    max_order: int | None = None,
    coefficients: Coefficients | None = None,
    eta: float | None = None,
    s_noise: float | None = None,
    noise_scale: float = 1.0,
) -> Solver:
    """The solver with this name, for this kind of model.

    max_order     order of a multistep method, 2 to 4 (None: 3); the other solvers have no such option
    coefficients  DEIS weights of another implementation
    eta, s_noise  how much noise a solver of ``NOISY`` adds, and a factor on it (None: 1); the others have neither
    noise_scale   standard deviation of the noise that a flow model was trained with

    Raises ValueError for an unknown solver, a number out of range, or an option that the solver does not have. Raises
    TypeError for an order that is not a whole number, and for an eta or s_noise that is not a number.
    """
    known: dict[str, type[Solver]] = {**SOLVERS, **NOISY}
    if name not in known:
        raise ValueError(f"ERK-Guid: solver is {name!r}, but must be one of {', '.join(map(repr, known))}.")
    solver = _with_noise(known[name](process), eta, s_noise, noise_scale)
    if max_order is not None:
        if not isinstance(solver, Multistep):
            raise ValueError(f"ERK-Guid: max_order is {max_order!r}, but {name} has a fixed order: leave it out.")
        if isinstance(max_order, bool) or not isinstance(max_order, int):
            raise TypeError(f"ERK-Guid: max_order is {max_order!r}, but must be a whole number from 2 to 4.")
        if not 2 <= max_order <= 4:
            raise ValueError(f"ERK-Guid: max_order is {max_order}, but must be between 2 and 4.")
        solver = replace(solver, max_order=max_order)
    if coefficients is not None:
        if not isinstance(solver, DEIS):
            raise ValueError(f"ERK-Guid: coefficients are weights for DEIS, and {name} takes none: leave them out.")
        solver = replace(solver, coefficients=coefficients)
    return solver


def _with_noise(solver: Solver, eta: float | None, s_noise: float | None, noise_scale: float) -> Solver:
    given = {name: value for name, value in (("eta", eta), ("s_noise", s_noise)) if value is not None}
    if not isinstance(solver, Ancestral):
        for name, value in given.items():
            raise ValueError(f"ERK-Guid: {name} is {value!r}, but {solver.name} adds no noise: leave it out.")
        return solver
    for name, value in given.items():
        _check_number(name, value, "give a finite number that is not negative, such as 1")
    scale = noise_scale if solver.process.is_flow else 1.0
    return replace(solver, noise_scale=scale, **{name: float(value) for name, value in given.items()})


def check_noise(solver: type[Solver], guidance: Guidance) -> None:
    """Raises ValueError for a solver that adds noise and a rule that cannot be used with it."""
    if issubclass(solver, Ancestral) and not getattr(guidance, "knows_noise", False):
        known = [repr(mode) for mode, rule in GUIDANCES.items() if getattr(rule, "knows_noise", False)]
        raise ValueError(
            f"ERK-Guid: mode is {guidance.mode!r}, which has no rule for a sampler that adds noise, such as "
            f"{solver.name}: use mode {' or '.join(known)}, or a sampler without noise."
        )


def _check_setting(name: str, value: float | None) -> None:
    if name not in SETTINGS:
        raise TypeError(f"ERK-Guid: {name} is not a setting of any mode: it must be one of {', '.join(SETTINGS)}.")
    if value is None:
        return
    _check_number(
        name, value, "give a finite number that is not negative, or leave it out to use the mode's own choice"
    )


def _check_number(name: str, value: float, way_out: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"ERK-Guid: {name} is {value!r}, which is not a number: {way_out}.")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"ERK-Guid: {name} is {value}: {way_out}.")


def check_parts(parts: Sequence[Sequence[int]], x: Tensor) -> tuple[torch.Size, ...]:
    """The shapes of what x packs; none if it is a latent itself. Raises ValueError where they do not fill it."""
    shapes = tuple(torch.Size(shape) for shape in parts)
    filled = sum(math.prod(shape) for shape in shapes) == x.numel() and all(shape[0] == len(x) for shape in shapes)
    if shapes and not filled:
        raise ValueError(
            f"ERK-Guid: parts is {[list(shape) for shape in shapes]}, but x is {list(x.shape)}: give the shapes, with "
            "x's batch, of all latents that it packs, or none."
        )
    return shapes


def check_schedule(sigmas: Tensor) -> list[float]:
    """The noise levels as floats. Raises ValueError for a schedule that no solver can follow."""
    if sigmas.ndim != 1:
        raise ValueError(
            f"ERK-Guid: sigmas has the shape {tuple(sigmas.shape)}, but must be a one-dimensional list of noise levels."
        )
    levels = sigmas.tolist()
    for level in levels:
        if not math.isfinite(level) or level < 0:
            raise ValueError(
                f"ERK-Guid: sigmas holds {level}, but noise levels must be finite and not negative: check the "
                "scheduler."
            )
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        if sigma == 0 and sigma_next > 0:
            raise ValueError(
                f"ERK-Guid: step {i} starts at sigma 0, where the drift (x - denoised)/sigma is not defined: "
                "start from a small value such as 0.0001, as FlipSigmas does."
            )
    return levels
