"""Trains the learned benchmark's networks on scikit-learn's digits: python -m bench.make.digits.

This takes minutes on one core. The same seed and torch version give the same weights.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor, nn

from ..instruments import edm, network
from ..instruments.data import digit_images

SEED = 0
STEPS, BATCH, RATE = 12_000, 384, 1.5e-3


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
    print(f"denoiser {edm.weights(denoiser):,} weights, classifier {edm.weights(classifier):,}: {network.WEIGHTS.name}")
    return 0


def train_denoiser(images: Tensor, steps: int) -> edm.Denoiser:
    """The averaged denoiser, trained on images [N, 64]."""
    denoiser = network.Denoiser()
    nn.init.zeros_(denoiser.leave.weight)
    nn.init.zeros_(denoiser.leave.bias)
    return edm.train(denoiser, lambda: (images[torch.randint(len(images), (BATCH,))], None), steps, RATE)


def train_classifier(images: Tensor, labels: Tensor, epochs: int = 25) -> network.Classifier:
    """A classifier, trained on images [N, 64] and labels [N].

    Every fifth image is held out. It is only used to measure the accuracy.
    """
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
    print(f"The classifier has {accuracy:.1%} of the held-out digits right.", file=sys.stderr)
    return classifier


if __name__ == "__main__":
    sys.exit(main())
