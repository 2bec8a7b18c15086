"""Which samplers of ComfyUI do the arithmetic that this pack's solvers do with mode off.

Tests hold each pair to being equal. A solver without a twin is compared with the twin of one that calls the model as
often.
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
"""Solver: ComfyUI's sampler and its options."""


def counterpart(solver: str) -> str | None:
    """The solver itself where ComfyUI has it, else the first it has that makes as many calls a step; None where it has
    none.
    """
    alike = [name for name in TWINS if erk.SOLVERS[name].calls == erk.SOLVERS[solver].calls]
    return solver if solver in TWINS else next(iter(alike), None)
