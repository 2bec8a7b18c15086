"""A small learned denoiser of 8x8 digits, and a classifier whose features are used to judge its samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import distances, edm
from .data import digit_images

WEIGHTS = edm.WEIGHTS / "digits.safetensors"
SIGMA_DATA = 0.75
"""Standard deviation of the digits' pixels, in [-1, 1]."""

BLANK = 0.1
"""A pixel is blank if its standard deviation in the data is below this. What a sample shows there is noise."""

_PIXELS, _WIDTH, _BLOCKS, _FREQUENCIES = 64, 256, 4, 16


class _Block(nn.Module):
    """Residual perceptron whose hidden layer is scaled and shifted by the noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)
        self.up = nn.Linear(_WIDTH, _WIDTH)
        self.modulation = nn.Linear(2 * _FREQUENCIES, 2 * _WIDTH)
        self.down = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.modulation(level).chunk(2, dim=1)
        return h + self.down(nn.functional.silu(self.up(self.norm(h)) * (1 + scale) + shift))


class Denoiser(edm.Denoiser):
    """D(x, sigma) of 8x8 images, [B, 64] or [B, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__(SIGMA_DATA)
        self.enter = nn.Linear(_PIXELS, _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))
        self.leave = nn.Linear(_WIDTH, _PIXELS)

    def network(self, x: Tensor, ratio: Tensor, condition: Tensor | None) -> Tensor:
        level = edm.level_features(ratio, _FREQUENCIES)
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, level)
        return self.leave(nn.functional.silu(h)).view(x.shape)


class Classifier(nn.Module):
    """Ten digits; its last hidden layer is the feature space of the Frechet distance."""

    FEATURES = 48

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(32 * 16, self.FEATURES)
        self.classes = nn.Linear(self.FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """x [B, 64] -> [B, 48]."""
        return nn.functional.silu(self.hidden(self.convolutions(x.view(-1, 1, 8, 8))))

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.features(x))


class Judge:
    """Distances of samples to the digits."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.images = digit_images()[0].float()
        self.blank = self.images.std(0) < BLANK
        self.scale = classifier.features(self.images).std()

    def features(self, images: Tensor) -> Tensor:
        """[B, 64] -> [B, 48], scaled to a standard deviation of 1 over the data."""
        return self.classifier.features(images) / self.scale

    @torch.no_grad()
    def __call__(self, samples: Tensor, data: Tensor | None = None) -> tuple[float, float, float, float]:
        """Of samples [B, 64]: Frechet distance in pixels, in features, sliced Wasserstein distance, noise in blanks."""
        samples, data = samples.float().flatten(1), self.images if data is None else data
        return (
            distances.frechet(samples, data),
            distances.frechet(self.features(samples), self.features(data)),
            distances.sliced_wasserstein(samples, data),
            float((samples - self.images.mean(0))[:, self.blank].square().mean().sqrt()),
        )

    def floor(self) -> tuple[float, float, float, float]:
        """The distances between two halves of the data. Smaller distances of samples mean nothing."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))
        half = len(order) // 2
        return self(self.images[order[:half]], self.images[order[half:]])


def save(denoiser: Denoiser, classifier: Classifier) -> None:
    """Write both networks' weights to one file."""
    edm.save(WEIGHTS, torch.float32, denoiser=denoiser, classifier=classifier)


def load() -> tuple[Denoiser, Classifier]:
    """Both trained networks. Raises FileNotFoundError if they have not been trained."""
    networks = Denoiser(), Classifier()
    edm.load(WEIGHTS, "make.digits", ("denoiser", "classifier"), networks)
    return networks
