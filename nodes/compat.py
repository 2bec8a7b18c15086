"""The differences between ComfyUI versions, in one place."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

import comfy.model_management
import comfy.sd
import torch
from comfy_api.latest import io
from torch import Tensor

# Cosmetic keywords that were added to ComfyUI after 0.3.48, the first version with this node API.
_NEWER = ("search_aliases", "essentials_category", "advanced")


def make(kind: Any, *args: Any, **keywords: Any) -> Any:
    """Build a Schema or an Input, without the cosmetic keywords that this ComfyUI does not know."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{key: value for key, value in keywords.items() if key in known or key not in _NEWER})


Trace = io.Custom("ERK_TRACE")
"""The type of a trace input or output."""

# ComfyUI's own top-level module, not this folder.
core_nodes = importlib.import_module("nodes")

SAMPLING = core_nodes.KSampler.CATEGORY
"""The menu category of the core samplers: "sampling" in older versions, "model/sampling" in newer ones."""

SAMPLERS_CATEGORY = SAMPLING + ("/custom_sampling/samplers" if SAMPLING == "sampling" else "/samplers")
"""The menu category of the nodes that output a SAMPLER."""


class PixelVAE:
    """A VAE for the VAE nodes of ComfyUI before 0.3.60, for latents that are pictures already."""

    def decode(self, samples: Tensor, **_: Any) -> Tensor:
        """Latents [B, 3, H, W] in -1..1 to images [B, H, W, 3] in 0..1."""
        return ((samples.float() + 1) / 2).clamp(0, 1).movedim(1, -1).to(comfy.model_management.intermediate_device())

    def encode(self, pixels: Tensor) -> Tensor:
        """Images [B, H, W, 3] in 0..1 to latents [B, 3, H, W] in -1..1."""
        return (2 * pixels[..., :3].float() - 1).movedim(-1, 1).to(comfy.model_management.intermediate_device())

    def decode_tiled(self, samples: Tensor, **_: Any) -> Tensor:
        return self.decode(samples)

    def encode_tiled(self, pixels: Tensor, **_: Any) -> Tensor:
        return self.encode(pixels)

    def spacial_compression_encode(self) -> int:
        return 1

    def spacial_compression_decode(self) -> int:
        return 1

    def temporal_compression_decode(self) -> None:
        return None


def pixel_vae() -> Any:
    """A VAE for latents that are pictures already. ComfyUI has one of its own from 0.3.60 on."""
    if importlib.util.find_spec("comfy.pixel_space_convert") is None:
        return PixelVAE()
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})
