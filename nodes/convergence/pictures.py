"""A latent as a picture: through the VAE, or as ComfyUI previews it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..compat import is_out_of_memory


def picture_of(latent: Tensor, model: Any, vae: Any = None) -> Image.Image | None:
    """The first sample; of a video the frame in its middle. None for what has no picture, such as sound.

    latent  as ComfyUI's samplers return it, [B, C, H, W] or [B, C, T, H, W]; of a nested one the first part
    vae     decodes it where there is one, and memory for it; of a video only the middle of the latent
    """
    if latent.is_nested:
        latent = latent.unbind()[0]
    latent = latent[:1]
    if latent.ndim == 5:
        middle = latent.shape[2] // 2
        latent = latent[:, :, middle : middle + 1]
    pixels = _decoded(latent, vae) if vae is not None else None
    if pixels is None:
        pixels = _previewed(latent, model.get_model_object("latent_format"))
    if pixels is None:
        return None
    return Image.fromarray((255 * pixels.float().cpu().clamp(0, 1).nan_to_num()).round().to(torch.uint8).numpy())


def _decoded(latent: Tensor, vae: Any) -> Tensor | None:
    """[H, W, 3] in 0..1; None where the VAE makes no picture of it."""
    try:
        pixels = vae.decode(latent)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        logging.warning("ERK-Guid: out of memory in the VAE; the Convergence Test shows previews instead.")
        return None
    if pixels.ndim not in (4, 5) or pixels.shape[-1] < 3:
        return None
    frames = pixels.flatten(0, -4)
    return frames[len(frames) // 2][..., :3]


def _previewed(latent: Tensor, latent_format: Any) -> Tensor | None:
    """[H, W, 3] in 0..1, by the factors that the format has for previews; None where it has none."""
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None or latent.ndim not in (4, 5):
        return None
    x = latent_format.process_in(latent.float())
    reshape = getattr(latent_format, "latent_rgb_factors_reshape", None)
    if reshape is not None:
        x = reshape(x)
    x = x[0, :, 0] if x.ndim == 5 else x[0]
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    weights = torch.tensor(factors, dtype=x.dtype)
    if weights.shape[0] != x.shape[0]:
        return None
    rgb = torch.einsum("chw,cr->hwr", x, weights)
    return (rgb + (0 if bias is None else torch.tensor(bias, dtype=x.dtype)) + 1) / 2


def stacked(*pictures: Image.Image) -> Image.Image:
    """One below the other, all as wide as the first."""
    width = pictures[0].width
    parts = [picture.resize((width, round(picture.height * width / picture.width))) for picture in pictures]
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)))
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet


def as_image(picture: Image.Image) -> Tensor:
    """As an IMAGE, [1, H, W, 3] in 0..1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).float().div(255).unsqueeze(0)
