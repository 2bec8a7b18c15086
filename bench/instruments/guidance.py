"""A problem with each of ComfyUI's kinds of guidance: guiders and model patches. Each defines its own ODE."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .comfy_model import Bench, ProblemModel, comfy
from .distributions import GaussianMixture, KernelDensity
from .problem import Problem
from .problems import problem
from .reference import Reference, converge

Guide = Callable[["Guided"], Any]
"""Makes a guider for a problem."""


class _Float64Model(ProblemModel):
    """A model that predicts in float64 if its input is float64, as the reference needs it."""

    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        if x.dtype != torch.float64:
            return super()._apply_model(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        condition = None if c_crossattn is None else c_crossattn.to(x)[:, 0].expand(len(x), -1)
        return self.predictor.predict(x, t.to(x).expand(len(x)), self.flow, condition)


class Guided:
    """A problem as ComfyUI MODELs and CONDITIONINGs.

    model, weaker                     the exact denoiser, and that of the same data, but blurred
    positive, other, unconditional    each sample's class, the next class, all classes equally
    """

    def __init__(self, name: str, kind: str) -> None:
        self.what, self.kind = problem(name), kind
        noise = self.what.noise()
        self.noise = noise
        self.bench = Bench(self.what, kind, noise)
        self.flow = self.bench.flow
        self.model, self.inner = self._patcher(self.what)
        self.weaker, _ = self._patcher(replace(self.what, distribution=_blurred(self.what)))
        wanted = self.what.condition(len(noise))[:, None]
        self.positive, self.other = [[wanted, {}]], [[wanted.roll(1, dims=-1), {}]]
        self.unconditional = [[torch.zeros_like(wanted), {}]]

    def _patcher(self, what: Problem):
        model = _Float64Model(what, self.kind)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu), model

    def sample(
        self, guider: Any, sampler: str | Callable[..., Tensor], sigmas: Tensor, options: dict[str, Any] | None = None
    ):
        """Samples [B, *shape] and the number of the sampler's model calls."""
        calls = []
        guider.model_patcher = guider.model_patcher.clone()
        wrapper = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
        guider.model_patcher.add_wrapper(wrapper, lambda executor, *a, **k: calls.append(1) or executor(*a, **k))
        guider.model_options = guider.model_patcher.model_options
        made = (
            comfy.samplers.KSAMPLER(sampler) if callable(sampler) else comfy.samplers.ksampler(sampler, options or {})
        )
        latent = torch.zeros_like(self.noise)
        samples = guider.sample(self.noise, latent, made, sigmas.clone(), disable_pbar=True, seed=0)
        return samples, len(calls)

    def converge(self, guider: Any, sigma_start: float, floor: float = 0.0, max_steps: int = 1600) -> Reference:
        """The end point of the guided ODE, through the guider itself.

        floor  the level below which the reference uses the prediction at this level instead
        """
        found: list[Reference] = []

        def solve(
            model: Any,
            x: Tensor,
            sigmas: Tensor,
            extra_args: dict | None = None,
            callback: Any = None,
            disable: Any = None,
        ):
            def denoise(x: Tensor, sigma: float) -> Tensor:
                return model(x, x.new_full((len(x),), max(sigma, floor)), **(extra_args or {}))

            found.append(converge(denoise, x, sigma_start, tolerance=1e-5, max_steps=max_steps))
            return x

        self.sample(guider, solve, torch.tensor([sigma_start, 0.0]))
        return found[0]


def _blurred(what: Problem) -> KernelDensity | GaussianMixture:
    """The data of a worse model, whose Gaussians are 1.5 times as wide."""
    data = what.distribution
    if isinstance(data, KernelDensity):
        return KernelDensity(data.points, 1.5 * data.width, data.labels)
    assert isinstance(data, GaussianMixture)
    return data.widened(1.5)


def _node(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _cfg(scale: float, *patches: Callable[[Any], Any]) -> Guide:
    def make(guided: Guided) -> Any:
        model = guided.model
        for patch in patches:
            model = patch(model)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(guided.positive, guided.unconditional)
        guider.set_cfg(scale)
        return guider

    return make


def _extra(module: str, name: str, **options: Any) -> Callable[[Any], Any]:
    return lambda model: _node(f"comfy_extras.{module}", name).execute(model, **options)[0]


def _rescale(multiplier: float) -> Callable[[Any], Any]:
    return lambda model: _node("comfy_extras.nodes_model_advanced", "RescaleCFG")().patch(model, multiplier)[0]


def _autoguidance(scale: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_custom_sampler", "DualModelGuider").execute(
        g.model, g.positive, scale, model_negative=g.weaker, negative=g.positive
    )[0]


def _dual_cfg(first: float, second: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_custom_sampler", "DualCFGGuider").execute(
        g.model, g.positive, g.other, g.unconditional, first, second, "regular"
    )[0]


def _perp_neg(scale: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_perpneg", "PerpNegGuider").execute(
        g.model, g.positive, g.other, g.unconditional, scale, 1.0
    )[0]


COMBINATIONS: dict[str, Guide] = {
    "CFG 1": _cfg(1.0),
    "CFG 2": _cfg(2.0),
    "CFG 4": _cfg(4.0),
    "CFG 7.5": _cfg(7.5),
    "CFG 7.5, RescaleCFG 0.7": _cfg(7.5, _rescale(0.7)),
    "CFG 7.5, APG": _cfg(7.5, _extra("nodes_apg", "APG", eta=0.0, norm_threshold=0.0, momentum=0.0)),
    "CFG 4, CFGZeroStar": _cfg(4.0, _extra("nodes_cfg", "CFGZeroStar")),
    "CFG 4, TCFG": _cfg(4.0, _extra("nodes_tcfg", "TCFG")),
    "CFG 4, Epsilon Scaling 1.005": _cfg(4.0, _extra("nodes_eps", "EpsilonScaling", scaling_factor=1.005)),
    "Autoguidance 2": _autoguidance(2.0),
    "Autoguidance 3": _autoguidance(3.0),
    "DualCFGGuider 3, 2": _dual_cfg(3.0, 2.0),
    "PerpNegGuider 4": _perp_neg(4.0),
}
