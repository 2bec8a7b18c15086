"""ComfyUI's samplers that add noise, as they come: who takes part where distributions are compared, at what price."""

from __future__ import annotations

from functools import cache

from .comfy_model import Bench, comfy
from .problems import problem

STOCK = (
    "euler_ancestral",
    "dpm_2_ancestral",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde",
    "ddpm",
    "lcm",
    "res_multistep_ancestral",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "exp_heun_2_x0_sde",
    "sa_solver",
    "sa_solver_pece",
)
"""At their defaults. Those for a GPU are the same functions, and CFG++ samples another distribution."""

OURS = ("erk_euler_ancestral", "erk_dpmpp_2s_ancestral")
DETERMINISTIC = ("erk_abm", "erk_deis", "erk_dpmpp_2s")
"""This pack's samplers without noise, for comparison, in mode calibrated."""


def stock() -> list[str]:
    """Those that this ComfyUI has."""
    return [name for name in comfy.samplers.SAMPLER_NAMES if name in STOCK]


@cache
def _calls(sampler: str) -> tuple[int, int]:
    """Model calls are a * steps + b: (a, b), counted."""
    plane = problem("spiral-0.10")
    bench = Bench(plane, "eps", plane.noise(1))
    seven, ten = (bench.sample(sampler, bench.sigmas("karras", steps))[1] for steps in (7, 10))
    return (ten - seven) // 3, seven - 7 * ((ten - seven) // 3)


def steps_within(sampler: str, budget: int) -> int:
    """The most steps whose model calls fit the budget."""
    per_step, offset = _calls(sampler)
    return (budget - offset) // per_step
