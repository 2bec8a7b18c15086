"""The differences between ComfyUI versions, in one place."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from typing import Any

import comfy.model_management
import comfy.sample
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


TraceType = io.Custom("ERK_TRACE")
"""The type of a trace input or output."""

# ComfyUI's own top-level module, not this folder.
core_nodes = importlib.import_module("nodes")

SAMPLING = core_nodes.KSampler.CATEGORY
"""The menu category of the core samplers: "sampling" in older versions, "model/sampling" in newer ones."""

SAMPLERS_CATEGORY = SAMPLING + ("/custom_sampling/samplers" if SAMPLING == "sampling" else "/samplers")
"""The menu category of the nodes that output a SAMPLER."""


def sample_along(
    model: Any, add_noise: bool, seed: int, cfg: float, sampler: Any, sigmas: Tensor, positive: Any, negative: Any,
    latent: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """ComfyUI's own SamplerCustom, whichever kind of node it is in this version. Returns its latent."""
    node = core_nodes.NODE_CLASS_MAPPINGS["SamplerCustom"]
    inputs = (model, add_noise, seed, cfg, positive, negative, sampler, sigmas, latent)
    if hasattr(node, "define_schema"):
        return node.execute(*inputs).result[0]
    return getattr(node(), node.FUNCTION)(*inputs)[0]


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


def fix_empty_latent(model: Any, latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT in the model's own channels and rank, as ComfyUI's samplers prepare them.

    What a latent says of its own scale is heeded where this ComfyUI knows it (after 0.3.64).
    """
    known = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters
    scales = {name: latent.get(name) for name in known if name.startswith("downscale_ratio")}
    return comfy.sample.fix_empty_latent_channels(model, latent["samples"], **scales)


def intermediate_dtype() -> torch.dtype:
    """The dtype in which latents go from node to node; older versions have only float32."""
    ask = getattr(comfy.model_management, "intermediate_dtype", None)
    return torch.float32 if ask is None else ask()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the host, ran out of memory: each backend says so in its own words."""
    theirs = getattr(comfy.model_management, "is_oom", None)
    if isinstance(error, MemoryError) or (theirs is not None and theirs(error)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)


def show_on_node(node: str | None, shown: Any) -> None:
    """Show on a running node's page what is otherwise shown when the node returns: its `ui`, by ComfyUI's own message.

    Nothing is done without a server, or where no page looks on.
    """
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or node is None or server.client_id is None:
        return
    from comfy_execution.progress import get_progress_state

    progress = get_progress_state()
    display = progress.dynprompt.get_display_node_id(node)
    message = {"node": node, "display_node": display, "output": shown, "prompt_id": progress.prompt_id}
    server.send_sync("executed", message, server.client_id)
