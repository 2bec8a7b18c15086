"""A small learned model of photographs: what a network makes of noise, where no formula is known. Torch only.

A class-conditional U-Net of a million weights, trained on crops of eight photographs. It is convolutional, so it also
makes pictures larger than the 32 x 32 pixels it was trained on.

The preconditioning is Karras et al. 2022 (EDM, table 1), written for x = alpha * data + sigma * noise. So one network
works for sigma-space models (alpha = 1) and flow models (alpha = 1 - sigma). At equal sigma/alpha it gets exactly the
same input and gives exactly the same output.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import silu

CLASSES = ("portrait", "cat", "coffee", "rocket", "motorcycle", "galaxies", "temple", "flower")
"""What each of the eight photographs shows, in the order of the class weights."""

WEIGHTS = Path(__file__).parent / "photographs.safetensors"
"""float16; made by ``python -m bench.make.photographs``."""

SIGMA_DATA = 0.5
"""Approximate standard deviation of the photographs' pixels, in [-1, 1]."""

SIDE = 8
"""Sides of a picture must be divisible by this."""

_WIDTHS = (48, 64, 128)
"""Channels at a half, a quarter and an eighth of the size. The network works on patches of 2 x 2 pixels."""
_FREQUENCIES, _EMBEDDING = 16, 128


class Preconditioned(nn.Module):
    """D(x, sigma) around a network F that a subclass provides.

    sigma_data  standard deviation of the data's pixels
    """

    def __init__(self, sigma_data: float) -> None:
        super().__init__()
        self.sigma_data = sigma_data

    def network(self, x: Tensor, ratio: Tensor, condition: Tensor | None) -> Tensor:
        """F of EDM. x [B, ...] has unit variance. ratio = sigma/alpha [B, 1] is infinite where a flow model starts."""
        raise NotImplementedError

    def forward(self, x: Tensor, sigma: Tensor, alpha: Tensor, condition: Tensor | None = None) -> Tensor:
        """x [B, ...], sigma and alpha [B, 1], class weights [B, classes] or None -> the denoised data [B, ...]."""
        ratio = sigma / alpha.clamp_min(1e-9)
        sigma, alpha = (level.reshape(-1, *[1] * (x.ndim - 1)) for level in (sigma, alpha))
        total = (alpha * self.sigma_data) ** 2 + sigma**2
        network = self.network(x / total.sqrt(), ratio, condition)
        return alpha * self.sigma_data**2 / total * x + sigma * self.sigma_data / total.sqrt() * network


def level_features(ratio: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines of the noise level, [B, 1] -> [B, 2 * frequencies].

    They are smooth in sigma up to the start of a flow model, as in real models. A kink or a steep rise would reduce
    every solver's order.
    """
    bounded = ratio / (1 + ratio / 20) + 1e-3
    angle = bounded.log() * torch.logspace(-1.0, 0.5, frequencies, dtype=ratio.dtype, device=ratio.device)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class _Block(nn.Module):
    """Residual convolutions. Noise level and class scale and shift the hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(_EMBEDDING, 2 * width)
        self.norm_hidden = nn.GroupNorm(8, width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv_in(silu(self.norm_in(h)))
        return h + self.conv_out(silu(self.norm_hidden(hidden) * (1 + scale) + shift))


class Denoiser(Preconditioned):
    """D(x, sigma) of colour pictures [B, 3, H, W], given class weights. A row of zeros is the unconditional model."""

    def __init__(self) -> None:
        super().__init__(SIGMA_DATA)
        fine, middle, coarse = _WIDTHS
        self.level = nn.Linear(2 * _FREQUENCIES, _EMBEDDING)
        self.classes = nn.Linear(len(CLASSES), _EMBEDDING, bias=False)
        self.embedding = nn.Linear(_EMBEDDING, _EMBEDDING)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, fine, 3, padding=1))
        self.fine, self.middle = _Block(fine), _Block(middle)
        self.coarse = nn.ModuleList([_Block(coarse), _Block(coarse)])
        self.down = nn.ModuleList([nn.Conv2d(fine, middle, 2, stride=2), nn.Conv2d(middle, coarse, 2, stride=2)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(coarse, middle, 2, stride=2), nn.ConvTranspose2d(middle, fine, 2, stride=2)]
        )
        self.merge = nn.ModuleList([nn.Conv2d(2 * middle, middle, 1), nn.Conv2d(2 * fine, fine, 1)])
        self.middle_out, self.fine_out = _Block(middle), _Block(fine)
        self.norm = nn.GroupNorm(8, fine)
        self.leave = nn.Sequential(nn.Conv2d(fine, 12, 3, padding=1), nn.PixelShuffle(2))

    @property
    def dtype(self) -> torch.dtype:
        return self.classes.weight.dtype

    def denoise(self, x: Tensor, sigma: Tensor, alpha: Tensor, class_weights: Tensor) -> Tensor:
        """The same with sigma and alpha [B], as the demo model calls its denoisers."""
        return self(x, sigma.view(-1, 1), alpha.view(-1, 1), class_weights)

    def network(self, x: Tensor, ratio: Tensor, condition: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        embedding = self.level(level_features(ratio, _FREQUENCIES))
        if condition is not None:
            embedding = embedding + self.classes(condition)
        embedding = silu(self.embedding(silu(embedding)))
        fine = self.fine(self.enter(x), embedding)
        middle = self.middle(self.down[0](fine), embedding)
        h = self.down[1](middle)
        for block in self.coarse:
            h = block(h, embedding)
        h = self.middle_out(self.merge[0](torch.cat([self.up[0](h), middle], dim=1)), embedding)
        h = self.fine_out(self.merge[1](torch.cat([self.up[1](h), fine], dim=1)), embedding)
        return self.leave(silu(self.norm(h)))


def load_photographs() -> Denoiser:
    """The trained network, in float32. Raises FileNotFoundError if it has not been trained."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(
            f"ERK-Guid demo model: {WEIGHTS} is missing: install the pack again, or train the network with "
            f"python -m bench.make.photographs."
        )
    denoiser = Denoiser()
    denoiser.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return denoiser.requires_grad_(False).eval().to(memory_format=torch.channels_last)
