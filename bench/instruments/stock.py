"""ComfyUI's own samplers, for comparison: which can solve the ODE, with which options, and with how many calls.

A sampler takes part if it solves the guided model's sampling ODE without noise, and if its number of model
calls is known beforehand. Samplers that draw noise by default take part with the noise turned off.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from devtools.inprocess import pack_module

from .comfy_model import Bench, comfy
from .peers import PEERS
from .problems import problem


def _no_noise(sigma: Tensor, sigma_next: Tensor) -> float:
    """A noise sampler for runs without noise. Without it, some samplers build a Brownian tree that they do not need."""
    return 0.0


_ETA_0: dict[str, Any] = {"eta": 0.0, "s_noise": 0.0, "noise_sampler": _no_noise}

DETERMINISTIC: dict[str, dict[str, Any]] = {
    "euler": {},
    "ddim": {},
    "heun": {},
    "heunpp2": {},
    "exp_heun_2_x0": {},
    "dpm_2": {},
    "lms": {},
    "dpm_fast": {},
    "dpmpp_2s_ancestral": _ETA_0,
    "dpmpp_sde": _ETA_0,
    "dpmpp_2m": {},
    "dpmpp_2m_sde": _ETA_0,
    "dpmpp_2m_sde_heun": _ETA_0,
    "dpmpp_3m_sde": _ETA_0,
    "ipndm": {},
    "ipndm_v": {},
    "deis": {},
    "res_multistep": {},
    "gradient_estimation": {},
    # With this noise scaler and without noise, the extended reverse SDE is the ODE (the node's solver type "ODE").
    "er_sde": {"s_noise": 0.0, "noise_sampler": _no_noise, "noise_scaler": lambda ratio: ratio},
    "seeds_2": _ETA_0,
    "seeds_3": _ETA_0,
    "sa_solver": {"tau_func": lambda sigma: 0.0, "s_noise": 0.0, "noise_sampler": _no_noise},
    "sa_solver_pece": {"tau_func": lambda sigma: 0.0, "s_noise": 0.0, "noise_sampler": _no_noise},
    "uni_pc": {},
    "uni_pc_bh2": {},
}
"""Name: options."""

ALIASES: dict[str, str] = {
    "euler_ancestral": "euler",
    "dpm_2_ancestral": "dpm_2",
    "res_multistep_ancestral": "res_multistep",
    "exp_heun_2_x0_sde": "exp_heun_2_x0",
}
"""At eta 0 these have the same arithmetic as another sampler, as :func:`alias_differences` shows. They are not run."""

_GPU = "the same function as without _gpu; only the device of its noise differs, and there is no noise"
_CFG_PP = "CFG++ is another ODE than that of the guided model: its end point is not the reference"
SKIPPED: dict[str, str] = {
    "dpm_adaptive": "chooses its own number of model calls",
    "ddpm": "an ancestral sampler without a setting for no noise",
    "lcm": "adds new noise at every step, by design",
    "dpmpp_sde_gpu": _GPU,
    "dpmpp_2m_sde_gpu": _GPU,
    "dpmpp_2m_sde_heun_gpu": _GPU,
    "dpmpp_3m_sde_gpu": _GPU,
    "euler_cfg_pp": _CFG_PP,
    "euler_ancestral_cfg_pp": _CFG_PP,
    "dpmpp_2s_ancestral_cfg_pp": _CFG_PP,
    "dpmpp_2m_cfg_pp": _CFG_PP,
    "res_multistep_cfg_pp": _CFG_PP,
    "res_multistep_ancestral_cfg_pp": _CFG_PP,
    "gradient_estimation_cfg_pp": _CFG_PP,
    **{name: f"{other} at eta 0" for name, other in ALIASES.items()},
}
"""For each name, why it does not take part."""


NOTES: dict[str, str] = {
    "dpm_fast": "takes only the ends of a schedule: its steps are even in log sigma whatever the schedule, and it "
    "stops at sigma_min",
    "uni_pc": "ends at sigma 0.001 instead of 0, as ComfyUI runs it",
    "uni_pc_bh2": "the same",
    "er_sde": 'with the settings of its node\'s solver type "ODE"',
    "sa_solver": "at tau 0, its node's eta 0",
    "sa_solver_pece": "the same",
}
"""For each name, what to know about a sampler that takes part."""


def peers() -> list[str]:
    """The stock samplers of this ComfyUI that take part."""
    return [name for name in comfy.samplers.SAMPLER_NAMES if name in DETERMINISTIC]


def unjudged() -> list[str]:
    """Samplers of this ComfyUI, or of another pack, that this file does not know. They are not measured."""
    known = DETERMINISTIC.keys() | SKIPPED.keys()
    return [name for name in comfy.samplers.SAMPLER_NAMES if name not in known and not name.startswith("erk_")]


def erk_samplers() -> list[str]:
    """This pack's samplers without noise."""
    solvers = pack_module("erk").SOLVERS
    return [
        name for name in comfy.samplers.SAMPLER_NAMES if name.removeprefix("erk_") in solvers and name[:4] == "erk_"
    ]


def modes() -> tuple[str, ...]:
    """The pack's modes, "off" first: the others are compared with it."""
    known = pack_module("erk").MODES
    return ("off", *(mode for mode in known if mode != "off"))


def runs(modes: Iterable[str], stock: Iterable[str] = ()) -> list[tuple[str, str, dict[str, Any]]]:
    """(sampler, mode, options): this pack's samplers in the modes, in their order, and stock samplers."""
    ours = [(sampler, mode, {"mode": mode}) for sampler in erk_samplers() for mode in modes]
    return ours + [(sampler, "stock", DETERMINISTIC[sampler]) for sampler in stock]


@cache
def _calls(sampler: str) -> tuple[int, int]:
    """(a, b), where the number of model calls is a * steps + b. It is counted on a cheap problem."""
    plane = problem("spiral-0.10")
    # Every peer is written for flow models.
    kind, schedule, function = (
        ("flow", "simple", PEERS[sampler].sample) if sampler in PEERS else ("eps", "karras", sampler)
    )
    bench = Bench(plane, kind, plane.noise(1))
    options = DETERMINISTIC.get(sampler) or {}
    # Seven and ten steps, because dpm_fast plans in groups of three.
    seven, ten = (bench.sample(function, bench.sigmas(schedule, steps), options)[1] for steps in (7, 10))
    return (ten - seven) // 3, seven - 7 * ((ten - seven) // 3)


def steps_within(sampler: str, budget: int) -> int:
    """The largest number of steps whose model calls fit the budget. Below 2, the sampler cannot take part."""
    per_step, offset = _calls(sampler)
    return (budget - offset) // per_step


def alias_differences() -> dict[str, float]:
    """Largest difference of each alias from the sampler it equals, over both kinds of model."""
    plane = problem("spiral-0.10")
    differences = dict.fromkeys(ALIASES, 0.0)
    for kind, schedule in (("eps", "karras"), ("flow", "simple")):
        bench = Bench(plane, kind, plane.noise(4))
        sigmas = bench.sigmas(schedule, 6)
        for name, other in ALIASES.items():
            # Call the k-diffusion function itself, because noise that is multiplied by zero is still drawn.
            ours = bench.sample(name, sigmas, {"eta": 0.0})[0]
            theirs = bench.sample(other, sigmas)[0]
            differences[name] = max(differences[name], float(torch.dist(ours, theirs, float("inf"))))
    return differences
