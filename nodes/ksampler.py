"""The sampling nodes: two KSamplers and a SAMPLER."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from .. import erk
from .compat import SAMPLERS_CATEGORY, SAMPLING, TraceType, core_nodes, make, sample_along
from .inputs import (
    ALIASES,
    how_to_correct,
    options_of,
    sampling_outputs,
    seed_input,
    sigmas_input,
    solver_input,
    what_to_sample,
)
from .samplers import PREFIX, SAMPLERS
from .traces.source import trace_of
from .traces.words import WHAT_TO_DO


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
            search_aliases=["ksampler", *ALIASES],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises the latent."),
                seed_input("seed"),
                *what_to_sample("Steps from noise to picture."),
                io.Float.Input(
                    "denoise", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="1 starts from pure noise. Lower values keep more of the latent's structure "
                    "(image to image).",
                ),
                *how_to_correct(sigmas_input()),
            ],
            outputs=sampling_outputs(),
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, model: Any, seed: int, steps: int, cfg: float, solver: str, scheduler: str, positive: Any, negative: Any,
        latent_image: dict[str, Any], denoise: float, mode: str,
        strengths: str | None = None, max_order: int = 3, sigmas: Tensor | None = None, **settings: float | None,
    ) -> io.NodeOutput:  # fmt: skip
        trace = erk.Trace()
        chosen = options_of(solver, max_order, mode, strengths, settings, trace, steps)
        if sigmas is not None:
            sampler = comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], chosen)
            latent = sample_along(model, True, seed, cfg, sampler, _checked(sigmas), positive, negative, latent_image)
            return io.NodeOutput(latent, trace)
        model = _with_sampler_options(model, chosen)
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
            search_aliases=["ksampler advanced", *ALIASES],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises the latent."),
                io.Combo.Input(
                    "add_noise", options=["enable", "disable"],
                    tooltip="Choose disable for a latent that another sampler returned with leftover noise.",
                ),
                seed_input("noise_seed"),
                *what_to_sample("Steps of the whole schedule."),
                io.Int.Input("start_at_step", default=0, min=0, max=10000, tooltip="The first step to make. Earlier "
                    "steps are skipped."),
                io.Int.Input("end_at_step", default=10000, min=0, max=10000, tooltip="Stop before this step."),
                io.Combo.Input(
                    "return_with_leftover_noise", options=["disable", "enable"],
                    tooltip="Choose enable to pass the unfinished latent to another sampler. Otherwise the last step "
                    "removes all noise.",
                ),
                *how_to_correct(sigmas_input()),
            ],
            outputs=sampling_outputs(),
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, model: Any, add_noise: str, noise_seed: int, steps: int, cfg: float, solver: str, scheduler: str,
        positive: Any, negative: Any, latent_image: dict[str, Any], start_at_step: int, end_at_step: int,
        return_with_leftover_noise: str, mode: str,
        strengths: str | None = None, max_order: int = 3, sigmas: Tensor | None = None, **settings: float | None,
    ) -> io.NodeOutput:  # fmt: skip
        trace, adds_noise = erk.Trace(), add_noise == "enable"
        chosen = options_of(solver, max_order, mode, strengths, settings, trace, steps)
        if sigmas is not None:
            part = _part(_checked(sigmas), start_at_step, end_at_step, return_with_leftover_noise == "disable")
            if len(part) < 2:
                return io.NodeOutput(latent_image, trace)
            sampler = comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], chosen)
            latent = sample_along(model, adds_noise, noise_seed, cfg, sampler, part, positive, negative, latent_image)
            return io.NodeOutput(latent, trace)
        model = _with_sampler_options(model, chosen)
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
            search_aliases=["ksamplerselect", *ALIASES],
            inputs=[solver_input(), *how_to_correct()],
            outputs=[
                io.Sampler.Output(tooltip="The sampler."),
                TraceType.Output(
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
        chosen = options_of(solver, max_order, mode, strengths, settings, trace)
        return io.NodeOutput(comfy.samplers.KSAMPLER(SAMPLERS[f"{PREFIX}{solver}"], chosen), trace)
