"""A problem as a real ComfyUI MODEL, so that samplers, schedules and CFG are ComfyUI's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from devtools.inprocess import load_pack

load_pack()  # comfy cannot be imported before this, and the samplers register themselves

import comfy.conds  # noqa: E402
import comfy.latent_formats  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.model_sampling  # noqa: E402
import comfy.nested_tensor  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.supported_models_base  # noqa: E402
import comfy.utils  # noqa: E402

KINDS = {
    "eps": comfy.model_base.ModelType.EPS,
    "edm": comfy.model_base.ModelType.EDM,
    "flow": comfy.model_base.ModelType.FLOW,
    "flow1": comfy.model_base.ModelType.FLOW,
}
"""The kinds of model.

eps: sigma-space, ComfyUI's discrete levels 0.029 to 14.6 (SD 1.5, SDXL). edm: sigma-space, continuous, 0.002 to 80.
flow: x = (1 - sigma) data + sigma noise, with a shift of 3 (SD 3). flow1: the same without a shift.
"""

SETTINGS = {
    "eps": {},
    "edm": {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 1.0},
    "flow": {"shift": 3.0},
    "flow1": {"shift": 1.0},
}


class Predictor(Protocol):
    """What a model is made of: a :class:`bench.instruments.problem.Problem`, or anything else with these three members.

    Two more members are optional. ``negative_condition(batch)`` gives the class weights of the negative prompt. If
    ``interval`` is not None, ``guided(sigma, flow)`` says at which levels CFG acts.
    """

    cfg: float

    def predict(self, x: Tensor, sigma: Tensor, flow: bool, condition: Tensor | None) -> Tensor: ...

    def condition(self, batch: int) -> Tensor: ...


class _LatentFormat(comfy.latent_formats.LatentFormat):
    """Latents are the data itself."""


class _Config(comfy.supported_models_base.BASE):
    unet_config: dict[str, Any] = {}
    latent_format = _LatentFormat


class _Weightless(torch.nn.Module):
    """Takes the place where ComfyUI looks for a network's parameters and dtype."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)


class ProblemModel(comfy.model_base.BaseModel):
    """The denoiser with ComfyUI's model interface. The class weights are in the CONDITIONING tensor [B, 1, classes].

    calls  how often a sampler asked for a prediction; ComfyUI passes both parts of CFG in one call
    """

    def __init__(self, predictor: Predictor, kind: str) -> None:
        config = _Config({"disable_unet_model_creation": True})
        config.sampling_settings = SETTINGS[kind]
        super().__init__(config, model_type=KINDS[kind])
        self.diffusion_model = _Weightless()
        self.predictor = predictor
        self.flow = KINDS[kind] is comfy.model_base.ModelType.FLOW
        self.calls = 0

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """With the shapes of what a latent packs, as ComfyUI's models of pictures with sound have them."""
        out, shapes = super().extra_conds(**kwargs), kwargs.get("latent_shapes") or []
        return {**out, "latent_shapes": comfy.conds.CONDConstant(shapes)} if len(shapes) > 1 else out

    # This overrides _apply_model, because the wrappers of other nodes are called in apply_model.
    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        self.calls += 1
        condition = None if c_crossattn is None else c_crossattn.to(x)[:, 0].expand(len(x), -1)
        return self.predictor.predict(x.float(), t.float().expand(len(x)), self.flow, condition)


class Bench:
    """One problem on one kind of model, ready to be sampled.

    noise  [B, *shape] float32 initial noise, the same for every sampler
    parts  shapes of the latents that it packs, without the batch; then ComfyUI samples them as a nested latent
    """

    def __init__(self, predictor: Predictor, kind: str, noise: Tensor, parts: Sequence[tuple[int, ...]] = ()) -> None:
        self.kind, self.noise, self.predictor = kind, noise, predictor
        self._parts = [(len(noise), *shape) for shape in parts]
        self.cfg = predictor.cfg
        self.model = ProblemModel(predictor, kind)
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.model, load_device=torch.device("cpu"), offload_device=torch.device("cpu")
        )
        wanted = predictor.condition(len(noise))[:, None]
        unwanted = (
            predictor.negative_condition(len(noise))[:, None]
            if hasattr(predictor, "negative_condition")
            else 0 * wanted
        )
        # If all rows are equal, one row is used for the whole batch, as in a real graph.
        alike = self.cfg == 1.0 and bool((wanted == wanted[:1]).all())
        self._positive, self._negative = ([[t[:1] if alike else t, {}]] for t in (wanted, unwanted))
        if getattr(predictor, "interval", None) is not None:
            self.patcher.set_model_sampler_cfg_function(self._cfg_in_interval)

    @property
    def flow(self) -> bool:
        return self.model.flow

    def _cfg_in_interval(self, arguments: dict[str, Any]) -> Tensor:
        """CFG where the predictor asks for it, otherwise only the positive. All are x - D, as in ComfyUI's hook."""
        positive, negative = arguments["cond"], arguments["uncond"]
        if not self.model.predictor.guided(float(arguments["sigma"].max()), self.flow):
            return positive
        return negative + arguments["cond_scale"] * (positive - negative)

    def sigmas(self, schedule: str, steps: int) -> Tensor:
        """A schedule from ComfyUI's own function, [steps + 1]."""
        return comfy.samplers.calculate_sigmas(self.model.model_sampling, schedule, steps)

    def sample(
        self, sampler: str | Callable[..., Tensor], sigmas: Tensor, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, int]:
        """Sample through ComfyUI. Returns the samples [B, *shape] and the number of model calls.

        sampler  a name of ComfyUI's, or a k-diffusion function
        options  keyword arguments of the sampler function
        """
        if callable(sampler):
            made = comfy.samplers.KSAMPLER(sampler, options or {})
        elif options:
            made = comfy.samplers.ksampler(sampler, options)
        else:
            made = comfy.samplers.sampler_object(sampler)
        before = self.model.calls
        samples = comfy.sample.sample_custom(
            self.patcher,
            self._nested(self.noise),
            self.cfg,
            made,
            sigmas.clone(),  # uni_pc writes into its schedule
            self._positive,
            self._negative,
            self._nested(torch.zeros_like(self.noise)),
            disable_pbar=True,
            seed=0,
        )
        if self._parts:
            samples = comfy.utils.pack_latents(samples.unbind())[0]
        return samples, self.model.calls - before

    def _nested(self, packed: Tensor) -> Any:
        if not self._parts:
            return packed
        return comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(packed, self._parts))

    def start(self, sigmas: Tensor) -> Tensor:
        """What a sampler receives at sigmas[0], [B, *shape]: the noise, scaled by ComfyUI itself."""
        return self.sample(lambda model, x, *arguments, **options: x, torch.stack([sigmas[0], sigmas.new_zeros(())]))[0]
