"""The sampling nodes' shared inputs, and the options that they become."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from .. import erk
from .compat import TraceType, make

ALIASES = [
    "erk",
    "erk-guid",
    "embedded runge-kutta",
    "stiffness",
    "sampler error",
    "ode",
    "ode solver",
    "ancestral",
    "sde",
    *erk.SOLVERS,
    *erk.NOISY,
]
_PRESET, _CUSTOM = "preset", "custom"
_SOLVER = "abm"
_NOISE = ("eta", "s_noise")


def seed_input(
    name: str, tooltip: str = "The seed of the noise. The same seed and settings give the same picture."
) -> Any:
    return io.Int.Input(
        name, default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=tooltip
    )  # fmt: skip


def cfg_input(tooltip: str) -> Any:
    return io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def scheduler_input(tooltip: str) -> Any:
    return io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip=tooltip)


def conditioning_and_latent(latent: str) -> list[Any]:
    """positive, negative and latent_image, whose tooltip is ``latent``."""
    return [
        io.Conditioning.Input("positive", tooltip="What the picture should show."),
        io.Conditioning.Input("negative", tooltip="What the picture should not show."),
        io.Latent.Input("latent_image", tooltip=latent),
    ]


def what_to_sample(steps: str) -> list[Any]:
    """The inputs from steps to latent_image of both KSamplers. The sentence ``steps`` says what the steps are."""
    return [
        io.Int.Input(
            "steps", default=20, min=1, max=10000,
            tooltip=f"{steps} abm, deis, euler and euler_ancestral call the model once per step, the others twice.",
        ),
        cfg_input(
            "Classifier-free guidance: how strongly the positive conditioning is followed. ERK-Guid works on top of it."
        ),
        solver_input(),
        scheduler_input("How the noise levels are distributed over the steps."),
        *conditioning_and_latent("The latent to start from. Its size sets the picture's size."),
    ]  # fmt: skip


def solver_input() -> Any:
    return make(
        io.Combo.Input,
        "solver",
        # The default first: the page's preview of a node shows the first choice.
        options=[_SOLVER, *(name for name in erk.SOLVERS if name != _SOLVER), *erk.NOISY],
        default=_SOLVER,
        tooltip="The method that solves the sampling ODE. abm: one model call per step, the most exact for the same "
        "time. deis: one call, as in the paper. heun, dpm_2, dpmpp_2s: two calls per step, so give them half the "
        "steps. heun is the solver that the paper tested most. euler, with mode off: for step-distilled models "
        "(turbo, lightning, LCM, schnell). euler_ancestral and dpmpp_2s_ancestral add noise at each step, one and two "
        "calls: for more variety, and against artefacts.",
    )


def guidance_inputs() -> list[Any]:
    """mode, strengths, w_stiff, w_con. They come after all others, so that saved workflows keep their values."""
    return [
        make(
            io.Combo.Input, "mode", options=list(erk.MODES), default=erk.MODES[0],
            tooltip="calibrated: corrects what the solver itself gets wrong; nothing to tune. paper: the published "
            "rule, with two strengths. off: the plain solver, for comparison and, with euler, for step-distilled "
            "models. No mode needs extra model calls.",
        ),
        make(
            io.Combo.Input, "strengths", options=[_PRESET, _CUSTOM], default=_PRESET, optional=True, advanced=True,
            tooltip="For mode paper. preset: the paper's w_stiff and w_con for the number of steps. custom: the two "
            "numbers below.",
        ),
        _float_input(
            "w_stiff", 0.75, 100.0, 0.05, 0.001,
            "Strength of the correction in mode paper with custom strengths. The correction grows with its square. "
            "The paper used 0.5 at 8 steps, 0.75 at 16 and up to 2 at 32. 0 corrects nothing.",
        ),
        _float_input(
            "w_con", 0.3, 1e6, 0.05, 0.0001,
            "In mode paper with custom strengths, steps whose stiffness is below this are not corrected. Its unit is "
            "1/sigma, so look at the Stiffness Visualizer's plot to choose it for your model.",
        ),
    ]  # fmt: skip


def _float_input(name: str, default: float, most: float, step: float, rounded: float | bool, tooltip: str) -> Any:
    """A number from 0 on that few people change."""
    return make(
        io.Float.Input, name, default=default, min=0.0, max=most, step=step, round=rounded, optional=True,
        advanced=True, tooltip=tooltip,
    )  # fmt: skip


def max_order_input() -> Any:
    return make(
        io.Int.Input,
        "max_order",
        default=3,
        min=2,
        max=4,
        optional=True,
        advanced=True,
        tooltip="Order of deis and abm: how many past steps it looks back on, plus one. Other solvers do not use it.",
    )


def noise_inputs() -> list[Any]:
    """eta and s_noise."""
    return [
        _float_input(
            "eta", 1.0, 100.0, 0.01, False,
            "How much new noise euler_ancestral and dpmpp_2s_ancestral add at each step. 1: as much as their step "
            "loses, the usual choice. 0: none, so that they solve the ODE. Other solvers do not use it.",
        ),
        _float_input(
            "s_noise", 1.0, 100.0, 0.01, False,
            "Factor on that noise. Slightly above 1 adds detail, below 1 smooths. Leave it at 1 with mode calibrated, "
            "which finds the right amount itself.",
        ),
    ]  # fmt: skip


def how_to_correct(*more: Any) -> list[Any]:
    """The inputs from mode on, in the order of all sampling nodes: saved workflows keep their values by it."""
    return [*guidance_inputs(), max_order_input(), *noise_inputs(), *more, *inputs_of_further_rules()]


def inputs_of_further_rules() -> list[Any]:
    """The settings of further rules. They come after all others, so that saved workflows keep their values."""
    return []


def sigmas_input() -> Any:
    """Optional, without a value of its own and behind what older workflows know, so that they load unchanged."""
    return io.Sigmas.Input(
        "sigmas", optional=True,
        tooltip="Noise levels to sample along, for example from Schedule from Trace (ERK-Guid). They replace "
        "scheduler, steps and denoise.",
    )  # fmt: skip


def sampling_outputs() -> list[Any]:
    """Of both KSamplers."""
    return [
        io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."),
        TraceType.Output(
            "trace", display_name="trace", tooltip="The stiffness per step, for the Stiffness Visualizer."
        ),
    ]


def latent_after_sampling(what: str) -> Any:
    """Makes the node wait for the sampling. The other samplers have sampled when their trace comes."""
    return io.Latent.Input(
        "latent", optional=True,
        tooltip=f"The sampler's output. Only needed with Sampler ERK-Guid, so that {what} after the sampling.",
    )  # fmt: skip


def further_traces(tooltip: str) -> list[Any]:
    """trace_2, latent_2 and so on, behind a node's first trace."""
    inputs: list[Any] = []
    for number in (2, 3, 4):
        inputs += [
            TraceType.Input(f"trace_{number}", optional=True, tooltip=tooltip),
            io.Latent.Input(
                f"latent_{number}", optional=True,
                tooltip=f"The output of the sampler that belongs to trace_{number}. Only needed with "
                "Sampler ERK-Guid.",
            ),
        ]  # fmt: skip
    return inputs


def options_of(
    solver: str,
    max_order: int,
    mode: str,
    strengths: str | None,
    settings: dict[str, float | None],
    trace: erk.Trace,
    steps: int = 1,
) -> dict[str, Any]:
    """The sampler function's options, checked here so that a mistake is reported before a model is loaded.

    max_order  left out for a solver without a choice of order
    settings   the settings of the rules and of the noise, from the node's inputs; with the preset, those of mode paper
               are ignored, and for a solver without noise those of the noise
    """
    settings = {"w_stiff": None, "w_con": None, **settings}
    noise: dict[str, Any] = {name: settings.pop(name) for name in _NOISE if name in settings}
    noise = noise if solver in erk.NOISY else {}
    if strengths == _PRESET:
        settings |= {"w_stiff": None, "w_con": None}
    order = {"max_order": max_order} if issubclass(erk.SOLVERS.get(solver, erk.Solver), erk.Multistep) else {}
    made = erk.make_solver(solver, erk.SIGMA_SPACE, order.get("max_order"), **noise)
    erk.check_noise(type(made), erk.make_guidance(mode, steps=steps, **settings))
    return {"mode": mode, "trace": trace, **order, **settings, **noise}
