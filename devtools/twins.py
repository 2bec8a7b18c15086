"""Which samplers of ComfyUI have the same arithmetic as this pack's solvers with mode off.

Tests check that each pair is equal. A solver without a twin is compared with the twin of a solver that makes the same
number of model calls.
"""

from __future__ import annotations

from typing import Any

import erk

TWINS: dict[str, tuple[str, dict[str, Any]]] = {
    "heun": ("heun", {}),
    "dpm_2": ("dpm_2", {}),
    "dpmpp_2s": ("dpmpp_2s_ancestral", {"eta": 0.0}),
    "deis": ("deis", {}),
    "euler": ("euler", {}),
}
"""For each solver, ComfyUI's sampler and its options."""


def counterpart(solver: str) -> str | None:
    """The solver itself if ComfyUI has it, or else the first one that makes the same number of calls per step.

    None if there is no such solver.
    """
    alike = [name for name in TWINS if erk.SOLVERS[name].calls == erk.SOLVERS[solver].calls]
    return solver if solver in TWINS else next(iter(alike), None)
