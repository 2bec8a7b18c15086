"""A schedule from the traces of finished runs: which noise levels a number of steps should visit.

A run tells D along its path. With it, the error of any step between any two levels can be worked out without the model
(:mod:`.trajectory`), and the levels whose steps leave the least in the picture are found by dynamic programming
(:mod:`.search`). Paths of other prompts and seeds bend at much the same levels, so one run serves many.
"""

from __future__ import annotations

from .planner import Plan, Planner, plan_schedule

__all__ = ["Plan", "Planner", "plan_schedule"]
