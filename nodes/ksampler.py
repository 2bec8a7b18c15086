"""The sampling nodes: two KSamplers and a SAMPLER."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from .. import erk
from .compat import SAMPLERS_CATEGORY, SAMPLING, Trace, core_nodes, make, sample_along
from .samplers import PREFIX, SAMPLERS
from .traces.source import trace_of
from .traces.words import WHAT_TO_DO

_ALIASES = [
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


def _seed_input(name: str) -> Any:
    return io.Int.Input(
        name, default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
        tooltip="The seed of the noise. The same seed and settings give the same picture.",
    )  # fmt: skip


def _what_to_sample(steps: str) -> list[Any]:
    """The inputs from steps to latent_image of both KSamplers. The sentence ``steps`` says what the steps are."""
    return [
        io.Int.Input(
            "steps", default=20, min=1, max=10000,
            tooltip=f"{steps} abm, deis, euler and euler_ancestral call the model once per step, the others twice.",
        ),
        io.Float.Input(
            "cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01,
            tooltip="Classifier-free guidance: how strongly the positive conditioning is followed. ERK-Guid "
            "works on top of it.",
        ),
        _solver_input(),
        io.Combo.Input(
            "scheduler", options=comfy.samplers.KSampler.SCHEDULERS,
            tooltip="How the noise levels are distributed over the steps.",
        ),
        io.Conditioning.Input("positive", tooltip="What the picture should show."),
        io.Conditioning.Input("negative", tooltip="What the picture should not show."),
        io.Latent.Input("latent_image", tooltip="The latent to start from. Its size sets the picture's size."),
    ]  # fmt: skip


def _solver_input() -> Any:
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


def _guidance_inputs() -> list[Any]:
    """mode, strengths, w_stiff, w_con. They come after all others, so that saved workflows keep their values."""
    return [
        make(
            io.Combo.Input,
            "mode",
            options=list(erk.MODES),
            default=erk.MODES[0],
            tooltip="calibrated: corrects what the solver itself gets wrong; nothing to tune. paper: the published "
            "rule, with two strengths. off: the plain solver, for comparison and, with euler, for step-distilled "
            "models. No mode needs extra model calls.",
        ),
        make(
            io.Combo.Input,
            "strengths",
            options=[_PRESET, _CUSTOM],
            default=_PRESET,
            optional=True,
            advanced=True,
            tooltip="For mode paper. preset: the paper's w_stiff and w_con for the number of steps. custom: the two "
            "numbers below.",
        ),
        make(
            io.Float.Input,
            "w_stiff",
            default=0.75,
            min=0.0,
            max=100.0,
            step=0.05,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip="Strength of the correction in mode paper with custom strengths. The correction grows with its "
            "square. The paper used 0.5 at 8 steps, 0.75 at 16 and up to 2 at 32. 0 corrects nothing.",
        ),
        make(
            io.Float.Input,
            "w_con",
            default=0.3,
            min=0.0,
            max=1e6,
            step=0.05,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="In mode paper with custom strengths, steps whose stiffness is below this are not corrected. "
            "Its unit is 1/sigma, so look at the Stiffness Visualizer's plot to choose it for your model.",
        ),
    ]


def _max_order_input() -> Any:
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


def _noise_inputs() -> list[Any]:
    """eta and s_noise."""
    return [
        make(
            io.Float.Input, "eta", default=1.0, min=0.0, max=100.0, step=0.01, round=False, optional=True,
            advanced=True,
            tooltip="How much new noise euler_ancestral and dpmpp_2s_ancestral add at each step. 1: as much as their "
            "step loses, the usual choice. 0: none, so that they solve the ODE. Other solvers do not use it.",
        ),
        make(
            io.Float.Input, "s_noise", default=1.0, min=0.0, max=100.0, step=0.01, round=False, optional=True,
            advanced=True,
            tooltip="Factor on that noise. Slightly above 1 adds detail, below 1 smooths. Leave it at 1 with mode "
            "calibrated, which finds the right amount itself.",
        ),
    ]  # fmt: skip


def _inputs_of_further_rules() -> list[Any]:
    """The settings of further rules. They come after all others, so that saved workflows keep their values."""
    return []


def _sigmas_input() -> Any:
    """Optional, without a value of its own and behind what older workflows know, so that they load unchanged."""
    return io.Sigmas.Input(
        "sigmas", optional=True,
        tooltip="Noise levels to sample along, for example from Schedule from Trace (ERK-Guid). They replace "
        "scheduler, steps and denoise.",
    )  # fmt: skip


def _trace_output() -> Any:
    return Trace.Output("trace", display_name="trace", tooltip="The stiffness per step, for the Stiffness Visualizer.")


def _options(
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


def _checked(sigmas: Any) -> Tensor:
    """The schedule that came over a link. Raises TypeError or ValueError for what is none."""
    if not isinstance(sigmas, Tensor):
        raise TypeError(f"ERK-Guid: sigmas is a {type(sigmas).__name__}: connect an output of the type SIGMAS.")
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError(
            f"ERK-Guid: sigmas has the shape {tuple(sigmas.shape)}, but must be a list of two noise levels or more: "
            "disconnect it to use scheduler and steps."
        )
    return sigmas


def _part(sigmas: Tensor, start: int, end: int, to_zero: bool) -> Tensor:
    """The levels from one step to another, as ComfyUI's KSampler cuts them; fewer than two: nothing to sample."""
    if end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1].clone()
        if to_zero:
            sigmas[-1] = 0.0
    return sigmas[start:]


def _with_sampler_options(model: Any, options: dict[str, Any]) -> Any:
    """The model, with a wrapper that gives these options to its sampler.

    ComfyUI's KSampler takes a sampler's name but no options. A wrapper around the sampler's call is ComfyUI's
    documented hook, and it keeps the stock node's whole code path.
    """

    def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        sampler = executor.class_obj  # made for this run
        sampler.extra_options = {**sampler.extra_options, **options}
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, sample)
    return model


class KSamplerERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="KSamplerERKGuid",
            display_name="KSampler (ERK-Guid)",
            category=SAMPLING,
            description="KSampler with embedded Runge-Kutta guidance: it estimates the solver's own error at every "
            f"step and corrects it, without extra model calls. {WHAT_TO_DO}",
            search_aliases=["ksampler", *_ALIASES],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises the latent."),
                _seed_input("seed"),
                *_what_to_sample("Steps from noise to picture."),
                io.Float.Input(
                    "denoise", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="1 starts from pure noise. Lower values keep more of the latent's structure "
                    "(image to image).",
                ),
                *_guidance_inputs(),
                _max_order_input(),
                *_noise_inputs(),
                _sigmas_input(),
                *_inputs_of_further_rules(),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."), _trace_output()],
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, model: Any, seed: int, steps: int, cfg: float, solver: str, scheduler: str, positive: Any, negative: Any,
        latent_image: dict[str, Any], denoise: float, mode: str,
        strengths: str | None = None, max_order: int = 3, sigmas: Tensor | None = None, **settings: float | None,
    ) -> io.NodeOutput:  # fmt: skip
        trace = erk.Trace()
        options = _options(solver, max_order, mode, strengths, settings, trace, steps)
        if sigmas is not None:
            sampler = comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], options)
            latent = sample_along(model, True, seed, cfg, sampler, _checked(sigmas), positive, negative, latent_image)
            return io.NodeOutput(latent, trace)
        model = _with_sampler_options(model, options)
        (latent,) = core_nodes.common_ksampler(
            model, seed, steps, cfg, f"{PREFIX}{solver}", scheduler, positive, negative, latent_image, denoise=denoise
        )
        return io.NodeOutput(latent, trace)


class KSamplerAdvancedERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="KSamplerAdvancedERKGuid",
            display_name="KSampler Advanced (ERK-Guid)",
            category=SAMPLING,
            description="KSampler (Advanced) with embedded Runge-Kutta guidance: it samples a part of the steps, "
            f"with or without adding noise first. {WHAT_TO_DO}",
            search_aliases=["ksampler advanced", *_ALIASES],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises the latent."),
                io.Combo.Input(
                    "add_noise", options=["enable", "disable"],
                    tooltip="Choose disable for a latent that another sampler returned with leftover noise.",
                ),
                _seed_input("noise_seed"),
                *_what_to_sample("Steps of the whole schedule."),
                io.Int.Input("start_at_step", default=0, min=0, max=10000, tooltip="The first step to make. Earlier "
                    "steps are skipped."),
                io.Int.Input("end_at_step", default=10000, min=0, max=10000, tooltip="Stop before this step."),
                io.Combo.Input(
                    "return_with_leftover_noise", options=["disable", "enable"],
                    tooltip="Choose enable to pass the unfinished latent to another sampler. Otherwise the last step "
                    "removes all noise.",
                ),
                *_guidance_inputs(),
                _max_order_input(),
                *_noise_inputs(),
                _sigmas_input(),
                *_inputs_of_further_rules(),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."), _trace_output()],
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, model: Any, add_noise: str, noise_seed: int, steps: int, cfg: float, solver: str, scheduler: str,
        positive: Any, negative: Any, latent_image: dict[str, Any], start_at_step: int, end_at_step: int,
        return_with_leftover_noise: str, mode: str,
        strengths: str | None = None, max_order: int = 3, sigmas: Tensor | None = None, **settings: float | None,
    ) -> io.NodeOutput:  # fmt: skip
        trace, adds_noise = erk.Trace(), add_noise == "enable"
        options = _options(solver, max_order, mode, strengths, settings, trace, steps)
        if sigmas is not None:
            part = _part(_checked(sigmas), start_at_step, end_at_step, return_with_leftover_noise == "disable")
            if len(part) < 2:
                return io.NodeOutput(latent_image, trace)
            sampler = comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], options)
            latent = sample_along(model, adds_noise, noise_seed, cfg, sampler, part, positive, negative, latent_image)
            return io.NodeOutput(latent, trace)
        model = _with_sampler_options(model, options)
        (latent,) = core_nodes.common_ksampler(
            model, noise_seed, steps, cfg, f"{PREFIX}{solver}", scheduler, positive, negative, latent_image,
            disable_noise=not adds_noise, start_step=start_at_step, last_step=end_at_step,
            force_full_denoise=return_with_leftover_noise == "disable",
        )  # fmt: skip
        return io.NodeOutput(latent, trace)


class SamplerERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="SamplerERKGuid",
            display_name="Sampler ERK-Guid",
            category=SAMPLERS_CATEGORY,
            description="A sampler with embedded Runge-Kutta guidance for SamplerCustom and SamplerCustomAdvanced.",
            # Each of these nodes has its own trace. So ComfyUI must not reuse the output of one node for another
            # with equal settings.
            not_idempotent=True,
            search_aliases=["ksamplerselect", *_ALIASES],
            inputs=[
                _solver_input(),
                *_guidance_inputs(),
                _max_order_input(),
                *_noise_inputs(),
                *_inputs_of_further_rules(),
            ],
            outputs=[
                io.Sampler.Output(tooltip="The sampler."),
                Trace.Output(
                    "trace", display_name="trace",
                    tooltip="The sampler's newest run, recorded when it runs. Connect the sampling node's latent to "
                    "the Stiffness Visualizer as well, so that the Visualizer runs after the sampling.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, solver: str, mode: str, strengths: str | None = None, max_order: int = 3, **settings: float | None,
    ) -> io.NodeOutput:  # fmt: skip
        trace = trace_of(cls.hidden.unique_id if cls.hidden is not None else None)
        options = _options(solver, max_order, mode, strengths, settings, trace)
        return io.NodeOutput(comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], options), trace)
