"""Trains the learned benchmark's networks on scikit-learn's digits: python -m bench.train_network.

Minutes on one core, the same weights for the same seed and torch. Denoiser: loss and weighting of
Karras et al. 2022 (EDM), Adam with a cosine schedule, an exponential average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time

import torch
from torch import Tensor, nn

from . import network
from .problems import digit_images

SEED = 0
STEPS, BATCH, RATE = 12_000, 384, 1.5e-3
AVERAGE = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of the denoiser")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, labels = digit_images()
    images = images.float()
    classifier = train_classifier(images, labels)
    denoiser = train_denoiser(images, arguments.steps)
    network.save(denoiser, classifier)
    print(f"denoiser {network.weights(denoiser):,} weights, classifier {network.weights(classifier):,}: {network.WEIGHTS.name}")
    return 0


def train_denoiser(images: Tensor, steps: int) -> network.Denoiser:
    """images [N, 64] -> the averaged denoiser."""
    denoiser = network.Denoiser()
    nn.init.zeros_(denoiser.leave.weight)
    nn.init.zeros_(denoiser.leave.bias)
    average = copy.deepcopy(denoiser).requires_grad_(False)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=RATE, betas=(0.9, 0.99))
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.03, final_div_factor=1e3)
    begin, mean_loss = time.monotonic(), 0.0
    for step in range(steps):
        data = images[torch.randint(len(images), (BATCH,))]
        sigma = _noise_levels(BATCH)
        denoised = denoiser(data + sigma * torch.randn_like(data), sigma, torch.ones_like(sigma))
        weight = (sigma**2 + network.SIGMA_DATA**2) / (sigma * network.SIGMA_DATA) ** 2
        loss = (weight * (denoised - data).square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        plan.step()
        decay = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), denoiser.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        mean_loss += (float(loss.detach()) - mean_loss) * 0.01
        if step % 500 == 499:
            print(f"denoiser step {step + 1}/{steps}, loss {mean_loss:.4f}, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return average


def _noise_levels(count: int) -> Tensor:
    """Mostly where there is something to learn, a part over the whole range, [count, 1]."""
    learned = (-1.0 + 1.3 * torch.randn(count, 1)).exp()
    anywhere = (math.log(2e-3) + math.log(1000 / 2e-3) * torch.rand(count, 1)).exp()
    return torch.where(torch.rand(count, 1) < 0.85, learned, anywhere)


def train_classifier(images: Tensor, labels: Tensor, epochs: int = 25) -> network.Classifier:
    """images [N, 64], labels [N]; every fifth image is held out and only tells the accuracy."""
    held_out = torch.arange(len(images)) % 5 == 0
    classifier = network.Classifier()
    optimiser = torch.optim.Adam(classifier.parameters(), lr=2e-3, weight_decay=1e-4)
    train, target = images[~held_out], labels[~held_out]
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(64):
            noisy = train[batch] + 0.1 * torch.randn(len(batch), 64)
            loss = nn.functional.cross_entropy(classifier(noisy), target[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        accuracy = (classifier(images[held_out]).argmax(1) == labels[held_out]).double().mean()
    print(f"classifier: {accuracy:.1%} of the held-out digits right", file=sys.stderr)
    return classifier


if __name__ == "__main__":
    sys.exit(main())
