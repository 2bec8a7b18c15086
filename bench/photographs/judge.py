"""Judges samples of the network by their distances to held-out crops, and finds where a picture is flat."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..instruments import crops, distances, photo_network
from ..instruments.grain import departure

FLAT = 0.06
"""A place is flat if no pixel of the converged picture within two pixels differs from its 3 x 3 mean by more than this.

It is eight of 255 grey levels.
"""
PATCH = 8
"""Side of the patches for the sliced Wasserstein distance to the data."""


class Judge:
    """Distances of samples to held-out crops of the same classes."""

    def __init__(self, classifier: photo_network.Classifier, count: int = 4000) -> None:
        self.classifier = classifier
        data = crops.draw(count, torch.Generator().manual_seed(2), held_out=True)[0]
        self.scale = classifier.features(data).std()
        self._features, self._patches = self.features(data), patches_of(data[: count // 4])

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 3, 32, 32] -> [B, 24], scaled to a standard deviation of 1 over the data."""
        return self.classifier.features(pictures) / self.scale

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> tuple[float, float]:
        """The Frechet distance of the features, and the sliced Wasserstein distance of the patches."""
        samples = samples.float()
        if not samples.isfinite().all():
            return math.inf, math.inf
        return (
            distances.frechet(self.features(samples), self._features),
            distances.sliced_wasserstein(patches_of(samples), self._patches, directions=128),
        )


def patches_of(pictures: Tensor) -> Tensor:
    """[B, 3, 32, 32] -> [B * 16, 192]."""
    return functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)


def flat_places(converged: Tensor) -> Tensor:
    """[B, 3, h, w] -> the places where only noise can be seen, bool [B, 1, h, w]."""
    size = departure(converged).abs().amax(1, keepdim=True)
    return functional.max_pool2d(size, 5, stride=1, padding=2) < FLAT
