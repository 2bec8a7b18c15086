"""Trains the networks of the benchmark on photographs: python -m bench.make.photographs.

This takes half an hour on one core. The same seed and torch version give the same weights. Every batch has new crops.
Some crops have no class, for classifier-free guidance (Ho and Salimans 2022).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..instruments import crops, edm, photo_network

SEED = 0
STEPS, BATCH, RATE = 7000, 48, 1e-3
DROPPED = 0.1
"""Share of the crops that the denoiser sees without their class."""
CLASSIFIER_STEPS = 1500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of the denoiser")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="save the state there, and continue from it; every 1000 steps also save weights and a sheet of samples",
    )
    arguments = parser.parse_args()
    resume = None
    if arguments.checkpoints is not None:
        arguments.checkpoints.mkdir(parents=True, exist_ok=True)
        resume = arguments.checkpoints / "state.pt"
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    classifier = train_classifier()
    denoiser = photo_network.Denoiser().to(memory_format=torch.channels_last)
    nn.init.zeros_(denoiser.leave[0].weight)
    nn.init.zeros_(denoiser.leave[0].bias)

    def keep(step: int, average: edm.Denoiser) -> None:
        if arguments.checkpoints is not None:
            photo_network.save_denoiser(average, arguments.checkpoints / f"{step:05d}.safetensors")
            sheet(average, arguments.checkpoints / f"{step:05d}.png")

    average = edm.train(denoiser, _batch, arguments.steps, RATE, keep, resume)
    photo_network.save(average, classifier)
    print(
        f"denoiser {edm.weights(average):,} weights, classifier {edm.weights(classifier):,}: "
        f"{photo_network.shipped.WEIGHTS.name}, {photo_network.WEIGHTS.name}"
    )
    return 0


def _batch() -> tuple[Tensor, Tensor]:
    data, classes = crops.draw(BATCH)
    told = nn.functional.one_hot(classes, crops.CLASSES) * (torch.rand(BATCH, 1) >= DROPPED)
    return data, told.float()


def train_classifier() -> photo_network.Classifier:
    """A classifier, trained on crops with a little noise. Held-out crops are only used to measure the accuracy."""
    classifier = photo_network.Classifier()
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(CLASSIFIER_STEPS):
        data, classes = crops.draw(BATCH)
        loss = nn.functional.cross_entropy(classifier(data + 0.05 * torch.randn_like(data)), classes)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    data, classes = crops.draw(2000, torch.Generator().manual_seed(1), held_out=True)
    with torch.no_grad():
        accuracy = (classifier(data).argmax(1) == classes).double().mean()
    print(f"The classifier has {accuracy:.1%} of the held-out crops right.", file=sys.stderr)
    return classifier


@torch.no_grad()
def sheet(denoiser: edm.Denoiser, path: Path, columns: int = 12, steps: int = 18) -> None:
    """Save samples of each class, one row each, by Heun's method from 80 to 0.002 (Karras et al. 2022, algorithm 1)."""
    generator = torch.Generator().manual_seed(0)
    condition = torch.eye(crops.CLASSES).repeat_interleave(columns, 0)
    x = 80 * torch.randn((len(condition), 3, crops.SIZE, crops.SIZE), generator=generator)
    ramp = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), steps) ** 7
    one = torch.ones(len(condition), 1)

    def drift(x: Tensor, sigma: float) -> Tensor:
        return (x - denoiser(x, sigma * one, one, condition)) / sigma

    for sigma, following in zip(ramp.tolist(), [*ramp[1:].tolist(), 0.0], strict=True):
        slope = drift(x, sigma)
        euler = x + (following - sigma) * slope
        x = euler if following == 0 else x + (following - sigma) * (slope + drift(euler, following)) / 2
    tiles = x.view(crops.CLASSES, columns, 3, crops.SIZE, crops.SIZE).permute(0, 3, 1, 4, 2)
    pixels = (tiles.reshape(crops.CLASSES * crops.SIZE, columns * crops.SIZE, 3) * 127.5 + 127.5).clamp(0, 255)
    picture = Image.fromarray(pixels.round().numpy().astype(np.uint8))
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    sys.exit(main())
