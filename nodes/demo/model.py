"""A MODEL that needs no checkpoint: the exact denoiser of pictures that the pack draws itself."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch
from comfy_api.latest import io
from torch import Tensor

from ..compat import SAMPLING, make, pixel_vae
from .pictures import CLASSES, TILE, TileMixture

_EVERYTHING = "everything"
_KINDS = {
    "eps": comfy.model_base.ModelType.EPS,
    "v": comfy.model_base.ModelType.V_PREDICTION,
    "flow": comfy.model_base.ModelType.FLOW,
}


class _PixelFormat(comfy.latent_formats.LatentFormat):
    """Latents are the pictures themselves, -1 to 1."""

    latent_channels = 3
    spacial_downscale_ratio = 1
    latent_rgb_factors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


class _DemoConfig(comfy.supported_models_base.BASE):
    unet_config: dict[str, Any] = {}
    latent_format = _PixelFormat
    sampling_settings = {"shift": 3.0}
    memory_usage_factor = 0.002  # per pixel; real models count 64 pixels as one


class DemoDenoiser(comfy.model_base.BaseModel):
    """A model whose prediction is the exact posterior mean.

    The class weights are in the CONDITIONING tensor [B, tokens, C], so that ConditioningAverage,
    ConditioningZeroOut and CFG have their usual meaning.
    """

    def __init__(self, kind: str) -> None:
        config = _DemoConfig({"disable_unet_model_creation": True, "in_channels": 3})
        super().__init__(config, model_type=_KINDS[kind])
        self.diffusion_model = TileMixture()

    # This overrides _apply_model, because the wrappers of other nodes are called in apply_model.
    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        height, width = x.shape[-2:]
        if x.ndim != 4 or x.shape[1] != 3 or height % TILE or width % TILE:
            raise ValueError(
                f"ERK-Guid demo model: the latent's samples have the shape {tuple(x.shape[1:])}, but must be (3, "
                f"height, width) with sides divisible by {TILE}: use the demo model node's own latent output."
            )
        mixture = self.diffusion_model
        x = x.float()
        sigma = t.float().expand(x.shape[0])
        is_flow = isinstance(self.model_sampling, comfy.model_sampling.CONST)
        alpha = 1 - sigma if is_flow else torch.ones_like(sigma)
        if c_crossattn is None:
            weights = x.new_zeros((x.shape[0], len(CLASSES)))
        else:
            weights = c_crossattn.to(x).mean(dim=1).expand(x.shape[0], -1)
        mixture.to(x.device)
        return mixture.denoise(x, sigma, alpha, weights)


def build_demo_model(kind: str) -> comfy.model_patcher.ModelPatcher:
    """The demo denoiser as a MODEL of kind "eps", "v" or "flow"."""
    return comfy.model_patcher.ModelPatcher(
        DemoDenoiser(kind),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def class_conditioning(name: str) -> list[list[Any]]:
    """CONDITIONING for one class, or for all classes equally."""
    weights = torch.tensor([[[float(name == known) for known in CLASSES]]])
    return [[weights, {}]]


class DemoModelERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size: dict[str, Any] = {"default": 384, "min": 2 * TILE, "max": 2048, "step": TILE}
        return make(
            io.Schema,
            node_id="DemoModelERKGuid",
            display_name="Demo Model (ERK-Guid)",
            category=SAMPLING,
            description="A model that needs no download: the exact denoiser of mosaics that this pack draws itself. "
            "Use it to try samplers and to learn what they do. You can also measure them, because the exact answer is "
            "known.",
            search_aliases=["demo", "test model", "toy model", "erk", "erk-guid", "ode"],
            inputs=[
                io.Combo.Input(
                    "kind", options=list(_KINDS), default="eps",
                    tooltip="Which kind of model it behaves like. eps: SD 1.5 and SDXL. v: SD 2. flow: SD 3, FLUX and "
                    "most newer models.",
                ),
                io.Combo.Input(
                    "pictures", options=[*CLASSES, _EVERYTHING], default="arcs", tooltip="What the positive "
                        "conditioning asks for.",
                ),
                io.Int.Input("width", **size, tooltip=f"Width in pixels, a multiple of {TILE}."),
                io.Int.Input("height", **size, tooltip=f"Height in pixels, a multiple of {TILE}."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many pictures at once."),
            ],
            outputs=[
                io.Model.Output(tooltip="The exact denoiser."),
                io.Conditioning.Output("positive", display_name="positive", tooltip="The chosen pictures."),
                io.Conditioning.Output(
                    "negative", display_name="negative", tooltip="All kinds of pictures equally. CFG moves away "
                        "from these.",
                ),
                io.Vae.Output(tooltip="Turns the model's latents into images. These latents are pictures already."),
                io.Latent.Output(tooltip="An empty latent of the chosen size."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, kind: str, pictures: str, width: int, height: int, batch_size: int
    ) -> io.NodeOutput:
        latent = torch.zeros([batch_size, 3, height, width], device=comfy.model_management.intermediate_device())
        return io.NodeOutput(
            build_demo_model(kind),
            class_conditioning(pictures),
            class_conditioning(_EVERYTHING),
            pixel_vae(),
            {"samples": latent},
        )
