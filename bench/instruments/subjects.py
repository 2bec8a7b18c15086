"""Things to sample under CFG: models, and noise that helped to choose no constant of the pack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from devtools.inprocess import pack_module

from . import crops, edm, photo_network

Subject = tuple[edm.Denoiser, Tensor, Tensor]
"""A denoiser, the pictures' classes and their noise."""


def photographs(count: int) -> Subject:
    """The network of photographs, with new noise."""
    return _subject(photo_network.load()[0], (count, 3, crops.SIZE, crops.SIZE), range(crops.CLASSES))


def mosaics(count: int, side: int) -> Subject:
    """The demo model's mosaics of squares with that side. None shows arcs, which helped to choose."""
    pictures = pack_module("nodes.demo.pictures")
    return _subject(pictures.TileMixture().denoise, (count, 3, side, side), range(1, len(pictures.CLASSES)))


def _subject(denoiser: edm.Denoiser, shape: Sequence[int], known: range) -> Subject:
    classes = torch.eye(known.stop)[[known[k % len(known)] for k in range(shape[0])]]
    return denoiser, classes, torch.randn(shape, generator=torch.Generator().manual_seed(4242))
