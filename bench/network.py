"""A small learned denoiser of 8x8 digits, and the classifier whose features its samples are judged by.

The denoiser is preconditioned as in Karras et al. 2022 (EDM, table 1), written for x = alpha * data +
sigma * noise, so that one network serves sigma-space models (alpha = 1) and flow models (alpha = 1 -
sigma): at equal sigma/alpha it sees the same input and gives the same answer, exactly.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
SIGMA_DATA = 0.75
"""Standard deviation of the digits' pixels, in [-1, 1]."""

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


class Denoiser(nn.Module):
    """D(x, sigma) of flat 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(_PIXELS, _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))
        self.leave = nn.Linear(_WIDTH, _PIXELS)

    def forward(self, x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
        """x [B, 64], sigma and alpha [B, 1] -> the denoised images [B, 64]."""
        total = (alpha * SIGMA_DATA) ** 2 + sigma**2
        network = self._network(x / total.sqrt(), sigma / alpha.clamp_min(1e-9))
        return alpha * SIGMA_DATA**2 / total * x + sigma * SIGMA_DATA / total.sqrt() * network

    def _network(self, x: Tensor, ratio: Tensor) -> Tensor:
        """F of EDM. ratio = sigma/alpha, [B, 1]; a flow model starts where it is infinite."""
        # Smooth in sigma up to there, as real models are: a kink or a steep rise would cost every solver its order.
        bounded = ratio / (1 + ratio / 20) + 1e-3
        angle = bounded.log() * torch.logspace(-1.0, 0.5, _FREQUENCIES, dtype=x.dtype)
        level = torch.cat([angle.sin(), angle.cos()], dim=1)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, level)
        return self.leave(nn.functional.silu(h))


class Classifier(nn.Module):
    """Ten digits; its last hidden layer is the feature space of the Frechet distance."""

    FEATURES = 48

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten()
        )
        self.hidden = nn.Linear(32 * 16, self.FEATURES)
        self.classes = nn.Linear(self.FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """x [B, 64] -> [B, 48]."""
        return nn.functional.silu(self.hidden(self.convolutions(x.view(-1, 1, 8, 8))))

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.features(x))


def save(denoiser: Denoiser, classifier: Classifier) -> None:
    """Write both networks' weights to one file."""
    parts = {"denoiser": denoiser, "classifier": classifier}
    tensors = {f"{part}.{name}": t.contiguous() for part, network in parts.items() for name, t in network.state_dict().items()}
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(tensors, WEIGHTS)


def load() -> tuple[Denoiser, Classifier]:
    """Both networks, trained. Raises FileNotFoundError where they have not been."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(f"{WEIGHTS} is missing: python -m bench.train_network makes it.")
    tensors = load_file(WEIGHTS)
    networks = Denoiser(), Classifier()
    for part, network in zip(("denoiser", "classifier"), networks, strict=True):
        network.load_state_dict({name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")})
        network.requires_grad_(False).eval()
    return networks


def weights(network: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(math.prod(p.shape) for p in network.parameters())
