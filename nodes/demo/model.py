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
from . import photographs, pictures
from .photographs import Denoiser, load_photographs
from .pictures import TILE, TileMixture

_EVERYTHING, _ALL_PHOTOGRAPHS = "everything", "all photographs"
MOSAICS = (*pictures.CLASSES, _EVERYTHING)
PHOTOGRAPHS = (*photographs.CLASSES, _ALL_PHOTOGRAPHS)
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
    """A model whose prediction is a given denoiser's: exact for mosaics, learned for photographs.

    The class weights are in the CONDITIONING tensor [B, tokens, C], so that ConditioningAverage,
    ConditioningZeroOut and CFG mean what they say.
    """

    side: int
    """Sides of a latent must be divisible by this."""
    classes: int

    def __init__(self, kind: str, denoiser: TileMixture | Denoiser) -> None:
        config = _DemoConfig({"disable_unet_model_creation": True, "in_channels": 3})
        super().__init__(config, model_type=_KINDS[kind])
        self.diffusion_model = denoiser
        mosaics = isinstance(denoiser, TileMixture)
        self.side = TILE if mosaics else photographs.SIDE
        self.classes = len(pictures.CLASSES if mosaics else photographs.CLASSES)

    # Not apply_model, because the wrappers that other nodes put around the model run there.
    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        height, width = x.shape[-2:]
        if x.ndim != 4 or x.shape[1] != 3 or height % self.side or width % self.side:
            raise ValueError(
                f"ERK-Guid demo model: the latent's samples have the shape {tuple(x.shape[1:])}, but must be (3, "
                f"height, width) with sides divisible by {self.side}: use the demo model node's own latent output."
            )
        if c_crossattn is not None and c_crossattn.shape[-1] != self.classes:
            raise ValueError(
                f"ERK-Guid demo model: the conditioning has {c_crossattn.shape[-1]} numbers a token, but must have "
                f"{self.classes}: connect positive and negative of the same demo model node."
            )
        x = x.float()
        sigma = t.float().expand(x.shape[0])
        is_flow = isinstance(self.model_sampling, comfy.model_sampling.CONST)
        alpha = 1 - sigma if is_flow else torch.ones_like(sigma)
        if c_crossattn is None:
            weights = x.new_zeros((x.shape[0], self.classes))
        else:
            weights = c_crossattn.to(x).mean(dim=1).expand(x.shape[0], -1)
        self.diffusion_model.to(x.device)
        return self.diffusion_model.denoise(x, sigma, alpha, weights)


def build_demo_model(kind: str, wanted: str = MOSAICS[0]) -> comfy.model_patcher.ModelPatcher:
    """A demo model as a MODEL of the kind "eps", "v" or "flow".

    wanted  one of MOSAICS or PHOTOGRAPHS; it decides which of the two models
    """
    return comfy.model_patcher.ModelPatcher(
        DemoDenoiser(kind, load_photographs() if wanted in PHOTOGRAPHS else TileMixture()),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def class_conditioning(name: str) -> list[list[Any]]:
    """CONDITIONING for one class, or with equal weights for all classes of its model."""
    classes = photographs.CLASSES if name in PHOTOGRAPHS else pictures.CLASSES
    weights = torch.tensor([[[float(name == known) for known in classes]]])
    return [[weights, {}]]


def all_kinds(name: str) -> str:
    """The choice that stands for all classes of a choice's model."""
    return _ALL_PHOTOGRAPHS if name in PHOTOGRAPHS else _EVERYTHING


class DemoModelERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size: dict[str, Any] = {"default": 384, "min": 2 * TILE, "max": 2048, "step": TILE}
        return make(
            io.Schema,
            node_id="DemoModelERKGuid",
            display_name="Demo Model (ERK-Guid)",
            category=SAMPLING,
            description="Models that need no download, to try samplers on and to measure them: the exact denoiser of "
            "mosaics, and a small network that has learned photographs.",
            search_aliases=["demo", "test model", "toy model", "erk", "erk-guid", "ode"],
            inputs=[
                io.Combo.Input(
                    "kind", options=list(_KINDS), default="eps",
                    tooltip="Which kind of model it behaves like. eps: SD 1.5 and SDXL. v: SD 2. flow: SD 3, FLUX and "
                    "most newer models.",
                ),
                io.Combo.Input(
                    "pictures", options=[*MOSAICS, *PHOTOGRAPHS], default="arcs",
                    tooltip=f"What the positive conditioning asks for. {MOSAICS[0]} to {MOSAICS[-1]}: mosaics, whose "
                    f"exact denoiser is known. {PHOTOGRAPHS[0]} to {PHOTOGRAPHS[-1]}: a small learned network, which "
                    "behaves more like the models you use. Its pictures look best at 64 to 128 pixels.",
                ),
                io.Int.Input("width", **size, tooltip=f"Width in pixels, a multiple of {TILE}."),
                io.Int.Input("height", **size, tooltip=f"Height in pixels, a multiple of {TILE}."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many pictures at once."),
            ],
            outputs=[
                io.Model.Output(tooltip="The exact denoiser, or the network."),
                io.Conditioning.Output("positive", display_name="positive", tooltip="The chosen pictures."),
                io.Conditioning.Output(
                    "negative", display_name="negative",
                    tooltip="All kinds of pictures of that model equally. CFG moves away from these.",
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
            build_demo_model(kind, pictures),
            class_conditioning(pictures),
            class_conditioning(all_kinds(pictures)),
            pixel_vae(),
            {"samples": latent},
        )
