"""The network of photographs that the demo model ships, and the classifier whose features judge its samples."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import silu

from devtools.inprocess import pack_module

from . import edm
from .crops import CLASSES

shipped = pack_module("nodes.demo.photographs")
Denoiser = shipped.Denoiser
SIGMA_DATA = shipped.SIGMA_DATA
WEIGHTS = edm.WEIGHTS / "photographs.safetensors"
"""The classifier's; ``shipped.WEIGHTS`` are the denoiser's."""


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


def save(denoiser: nn.Module, classifier: Classifier) -> None:
    """Write each network's weights to its file, as float16."""
    save_denoiser(denoiser, shipped.WEIGHTS)
    edm.save(WEIGHTS, torch.float16, classifier=classifier)


def save_denoiser(denoiser: nn.Module, path: Path) -> None:
    save_file({name: t.half().contiguous() for name, t in denoiser.state_dict().items()}, path)


def load() -> tuple[nn.Module, Classifier]:
    """Both networks, trained. Raises FileNotFoundError where they have not been."""
    classifier = Classifier()
    edm.load(WEIGHTS, "make.photographs", ("classifier",), (classifier,))
    return shipped.load_photographs(), classifier
