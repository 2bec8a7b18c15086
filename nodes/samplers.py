"""The samplers as ComfyUI knows them: k-diffusion functions, registered next to the stock ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import comfy.k_diffusion.sampling as k_diffusion
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.k_diffusion import deis
from torch import Tensor

from .. import erk
from . import live
from .continuing import Piece
from .predictor import packed

NoiseSampler = Callable[[Tensor, Tensor], Tensor] | None
ExtraArgs = dict[str, Any] | None
Callback = Callable[[dict[str, Any]], None] | None


PREFIX = "erk_"
"""The prefix of the samplers' names, which keeps them together in every list."""


class NoiseOptions(NamedTuple):
    """Options of samplers that add noise, as ComfyUI has them."""

    eta: float
    s_noise: float
    noise_sampler: NoiseSampler

    def sampler(self, x: Tensor, seed: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """(sigma, sigma_next) -> noise like x; ComfyUI's own where none is given."""
        return self.noise_sampler or k_diffusion.default_noise_sampler(x, seed=seed)


class Options(NamedTuple):
    """What was chosen beside the solver.

    mode      one of ``erk.MODES``
    w_stiff, w_con  strengths of mode "paper"; None means the paper's preset for the run's number of steps
    trace     an ``erk.Trace`` that records the run, or None
    settings  settings of other rules, by name
    max_order  order of a multistep method; None for the others
    noise     options of a sampler that adds noise; None for the others
    """

    mode: str
    w_stiff: float | None
    w_con: float | None
    trace: erk.Trace | None
    settings: dict[str, float | None]
    max_order: int | None = None
    noise: NoiseOptions | None = None


def _sampler(solver: type[erk.Solver]) -> Callable[..., Tensor]:
    """The k-diffusion function of a solver. ComfyUI reads its options from the signature."""

    def sample(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: ExtraArgs = None, callback: Callback = None,
        disable: bool | None = None, *,
        mode: str = erk.MODES[0], w_stiff: float | None = None, w_con: float | None = None,
        trace: erk.Trace | None = None,
        **settings: float | None,
    ) -> Tensor:  # fmt: skip
        options = Options(mode, w_stiff, w_con, trace, settings)
        return _sample(solver, model, x, sigmas, extra_args, callback, disable, options)

    def sample_in_order(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: ExtraArgs = None, callback: Callback = None,
        disable: bool | None = None, *,
        mode: str = erk.MODES[0], w_stiff: float | None = None, w_con: float | None = None,
        trace: erk.Trace | None = None,
        max_order: int = 3, **settings: float | None,
    ) -> Tensor:  # fmt: skip
        options = Options(mode, w_stiff, w_con, trace, settings, max_order)
        return _sample(solver, model, x, sigmas, extra_args, callback, disable, options)

    def sample_with_noise(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: ExtraArgs = None, callback: Callback = None,
        disable: bool | None = None, *,
        eta: float = 1.0, s_noise: float = 1.0, noise_sampler: NoiseSampler = None,
        mode: str = erk.MODES[0], trace: erk.Trace | None = None,
        **settings: float | None,
    ) -> Tensor:  # fmt: skip
        settings = {"w_stiff": None, "w_con": None, **settings}
        w_stiff, w_con = settings.pop("w_stiff"), settings.pop("w_con")
        noise = NoiseOptions(eta, s_noise, noise_sampler)
        options = Options(mode, w_stiff, w_con, trace, settings, noise=noise)
        return _sample(solver, model, x, sigmas, extra_args, callback, disable, options)

    function = sample_in_order if issubclass(solver, erk.Multistep) else sample
    function = sample_with_noise if issubclass(solver, erk.Ancestral) else function
    function.__name__ = function.__qualname__ = f"sample_{PREFIX}{solver.name}"
    function.__doc__ = f"{solver.title} with embedded Runge-Kutta guidance; see :func:`_sample`."
    return function


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    f"{PREFIX}{name}": _sampler(solver) for name, solver in {**erk.SOLVERS, **erk.NOISY}.items()
}


def register_samplers() -> None:
    """Add the samplers to ComfyUI's registry, once and in place.

    Every sampler dropdown reads this list object, so names are appended to it and it is never replaced. The
    samplers are deliberately not in DISCARD_PENULTIMATE_SIGMA_SAMPLERS. Only class KSampler uses that set, so
    KSampler and SamplerCustom would give different pictures.
    """
    for name, function in SAMPLERS.items():
        setattr(k_diffusion, f"sample_{name}", function)
        if name not in comfy.samplers.SAMPLER_NAMES:
            comfy.samplers.SAMPLER_NAMES.append(name)


def _sample(
    solver: type[erk.Solver], model: Any, x: Tensor, sigmas: Tensor, extra_args: ExtraArgs, callback: Callback,
    disable: bool | None, options: Options,
) -> Tensor:  # fmt: skip
    """Sample as a k-diffusion sampler does.

    x        noisy latent, [B, ...]
    sigmas   [n + 1] noise levels

    Raises ValueError or TypeError for invalid options and schedules, before any model call.
    """
    _check_trace(options.trace)
    trace, noise, extra_args = options.trace, options.noise, extra_args or {}
    process, steps = noise_process(model), max(len(sigmas) - 1, 1)
    guidance = erk.make_guidance(options.mode, options.w_stiff, options.w_con, steps, **options.settings)
    made = _made(solver, model, process, options)
    erk.check_noise(solver, guidance)
    region = extra_args.get("denoise_mask")
    piece = Piece(model, (options.w_stiff, options.w_con, options.settings), region)
    parts = packed(model, x)
    earlier = piece.earlier(x, sigmas, made, options.mode, parts)
    draw = noise.sampler(x, extra_args.get("seed")) if noise else None

    if trace is not None and live.is_planned_from(trace):
        trace.keep = True
    told = _Told(callback, sigmas)
    with live.watching(trace) as view:

        def report(i: int, x: Tensor, denoised: Tensor) -> None:
            told.step(i, x, denoised)
            if view is not None:
                view.poll()

        result = erk.integrate(
            lambda x, sigma: model(x, sigma, **extra_args),
            earlier.x.to(x.device) if earlier is not None and earlier.same_model else x,  # one run, to the last bit
            sigmas,
            made,
            guidance,
            process,
            report=report,
            trace=trace,
            watch=view,
            progress=lambda steps: k_diffusion.trange(steps, disable=disable),
            region=region,
            sigma_min=least_noise(model),
            draw=None if draw is None else lambda i: draw(sigmas[i], sigmas[i + 1]),
            earlier=earlier,
            hand_on=piece.keep,
            parts=parts,
        )
    told.result(result)
    return result


class _Told:
    """ComfyUI's callback, called once per step.

    The step to sigma 0 is told when it has been made, with the result as its prediction. With ComfyUI's own solvers the
    model's last prediction is the result, and so other nodes take it for the result (FaceDetailer, and whoever uses
    the output denoised_output). A corrected step to 0 would be lost there.
    """

    def __init__(self, callback: Callback, sigmas: Tensor) -> None:
        self._callback, self._sigmas = callback, sigmas
        self._last = len(sigmas) - 2 if len(sigmas) > 1 and float(sigmas[-1]) == 0 else None
        self._x: Tensor | None = None

    def step(self, i: int, x: Tensor, denoised: Tensor) -> None:
        """Before the step is made."""
        if i == self._last:
            self._x = x
        else:
            self._tell(i, x, denoised)

    def result(self, x: Tensor) -> None:
        if self._last is not None and self._x is not None:
            self._tell(self._last, self._x, x)

    def _tell(self, i: int, x: Tensor, denoised: Tensor) -> None:
        if self._callback is not None:
            sigma = self._sigmas[i]
            self._callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


def _made(solver: type[erk.Solver], model: Any, process: erk.NoiseProcess, options: Options) -> erk.Solver:
    """The solver with its options, which are checked."""
    coefficients = _comfy_deis_coefficients if issubclass(solver, erk.DEIS) else None
    eta, s_noise = options.noise[:2] if options.noise else (None, None)
    scale = getattr(_sampling(model), "noise_scale", 1.0)
    return erk.make_solver(solver.name, process, options.max_order, coefficients, eta, s_noise, scale)


def _check_trace(trace: Any) -> None:
    if trace is not None and not isinstance(trace, erk.Trace):
        raise TypeError(
            f"ERK-Guid: trace is a {type(trace).__name__}, but must be an erk.Trace, or None to record nothing."
        )


def noise_process(model: Any) -> erk.NoiseProcess:
    """Flow or sigma-space, from the model's sampling type.

    A wrapper of another pack may hide that type. Then sigma-space is assumed, and the log says so once.
    """
    sampling = _sampling(model)
    if sampling is None:
        _warn_unknown_sampling(type(model).__name__)
    return erk.FLOW if isinstance(sampling, comfy.model_sampling.CONST) else erk.SIGMA_SPACE


def least_noise(model: Any) -> float | None:
    """The model's own least noise level; None where it does not tell."""
    level = getattr(_sampling(model), "sigma_min", None)
    return None if level is None else float(level)


def _sampling(model: Any) -> Any:
    """The model's sampling type; None where a wrapper hides it."""
    inner, seen = model, set()
    while inner is not None and id(inner) not in seen:  # a wrapper may lead back to itself
        seen.add(id(inner))
        sampling = getattr(inner, "model_sampling", None)
        if sampling is not None:
            return sampling
        inner = getattr(inner, "inner_model", None)
    return None


@cache
def _warn_unknown_sampling(model_type: str) -> None:
    logging.warning(
        "ERK-Guid: %s does not show its sampling type; it is treated as a sigma-space model (EPS, V or EDM).",
        model_type,
    )


def _comfy_deis_coefficients(sigmas: tuple[float, ...], sigma_next: float) -> tuple[float, ...]:
    """ComfyUI's own DEIS weights, so that mode "off" equals its ``deis`` up to rounding."""
    levels = torch.tensor([*reversed(sigmas), sigma_next])
    return tuple(float(weight) for weight in deis.get_deis_coeff_list(levels, len(sigmas), deis_mode="tab")[-1])
