"""A small class-conditional U-Net for crops of photographs, and a classifier whose features judge its samples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from . import edm
from .crops import CLASSES

WEIGHTS = edm.WEIGHTS / "photographs.safetensors"
SIGMA_DATA = 0.5
"""About the standard deviation of the crops' pixels, in [-1, 1]."""

_WIDTHS = (48, 64, 128)
"""Channels at 16 x 16, 8 x 8 and 4 x 4: the network works on patches of 2 x 2 pixels."""
_FREQUENCIES, _EMBEDDING = 16, 128


class _Block(nn.Module):
    """Residual convolutions whose hidden layer is scaled and shifted by noise level and class."""

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


class Denoiser(edm.Denoiser):
    """D(x, sigma) of 32 x 32 colour pictures, given class weights. A row of zeros means the unconditional model."""

    def __init__(self) -> None:
        super().__init__(SIGMA_DATA)
        fine, middle, coarse = _WIDTHS
        self.level = nn.Linear(2 * _FREQUENCIES, _EMBEDDING)
        self.classes = nn.Linear(CLASSES, _EMBEDDING, bias=False)
        self.embedding = nn.Linear(_EMBEDDING, _EMBEDDING)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, fine, 3, padding=1))
        self.fine, self.middle, self.coarse = (
            _Block(fine),
            _Block(middle),
            nn.ModuleList([_Block(coarse), _Block(coarse)]),
        )
        self.down = nn.ModuleList([nn.Conv2d(fine, middle, 2, stride=2), nn.Conv2d(middle, coarse, 2, stride=2)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(coarse, middle, 2, stride=2), nn.ConvTranspose2d(middle, fine, 2, stride=2)]
        )
        self.merge = nn.ModuleList([nn.Conv2d(2 * middle, middle, 1), nn.Conv2d(2 * fine, fine, 1)])
        self.middle_out, self.fine_out = _Block(middle), _Block(fine)
        self.norm = nn.GroupNorm(8, fine)
        self.leave = nn.Sequential(nn.Conv2d(fine, 12, 3, padding=1), nn.PixelShuffle(2))

    def network(self, x: Tensor, ratio: Tensor, condition: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        embedding = self.level(edm.level_features(ratio, _FREQUENCIES))
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


class Classifier(nn.Module):
    """Predicts a crop's photograph. Its last hidden layer is the feature space of the Frechet distance."""

    FEATURES = 24

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(48, 48, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.hidden = nn.Linear(48 * 16, self.FEATURES)
        self.classes = nn.Linear(self.FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """x [B, 3, 32, 32] -> [B, 24]."""
        return silu(self.hidden(self.convolutions(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.features(x))


def save(denoiser: edm.Denoiser, classifier: Classifier, path: Path = WEIGHTS) -> None:
    """Both networks' weights in one file, as float16."""
    edm.save(path, torch.float16, denoiser=denoiser, classifier=classifier)


def load() -> tuple[Denoiser, Classifier]:
    """Both trained networks. Raises FileNotFoundError if they have not been trained."""
    networks = Denoiser(), Classifier()
    edm.load(WEIGHTS, "make.photographs", ("denoiser", "classifier"), networks)
    networks[0].to(memory_format=torch.channels_last)
    return networks
