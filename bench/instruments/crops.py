"""Colour crops of photographs, 32 x 32: the data of a learned benchmark. The class of a crop is its photograph.

The photographs are in the wheels of scikit-image and scikit-learn. This repository contains none of them. An installed
scikit-image is used if there is one. Otherwise its pinned wheel is fetched once into a folder that git ignores.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import math
import zipfile
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .packages import Package

SIZE = 32
SCIKIT_IMAGE = Package(
    "scikit_image",
    "0.25.2",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
)

PHOTOGRAPHS: dict[str, str] = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
"""The SHA-256 of each file. The class of a crop is the index of its photograph in this list."""
CLASSES = len(PHOTOGRAPHS)

_SHARES = [2 ** -(1.0 + k / 8) for k in range(9)]
"""Side of a crop divided by the photograph's shorter side. Even indices are for training, odd ones are held out."""


def draw(
    count: int,
    generator: torch.Generator | None = None,
    held_out: bool = False,
    classes: Sequence[int] = range(CLASSES),
) -> tuple[Tensor, Tensor]:
    """Crops at random places and scales, and mirrored at random: [count, 3, 32, 32] in [-1, 1], and classes [count].

    held_out  use the scales that training never sees, so that no held-out crop was trained on
    classes   the photographs to draw from
    """
    labels = torch.tensor(classes)[torch.randint(len(classes), (count,), generator=generator)]
    at = torch.rand((count, 4), generator=generator).tolist()
    crops = []
    for label, (scale, down, across, mirrored) in zip(labels.tolist(), at, strict=True):
        levels = _pyramid(label, held_out)
        picture = levels[int(scale * len(levels))]
        y, x = (
            int(place * (length - SIZE + 1)) for place, length in zip((down, across), picture.shape[1:], strict=True)
        )
        crop = picture[:, y : y + SIZE, x : x + SIZE]
        crops.append(crop.flip(2) if mirrored < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1, labels


@cache
def _pyramid(label: int, held_out: bool) -> list[Tensor]:
    """A photograph at each scale, uint8 [3, H, W]."""
    photograph = Image.open(io.BytesIO(_read(list(PHOTOGRAPHS)[label]))).convert("RGB")
    scales = [SIZE / (share * min(photograph.size)) for share in _SHARES[held_out::2]]
    sizes = [tuple(math.ceil(scale * length) for length in photograph.size) for scale in scales]
    pictures = [photograph.resize(size, Image.Resampling.BICUBIC) for size in sizes]
    return [torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous() for picture in pictures]


def _read(name: str) -> bytes:
    """A photograph's file. Raises RuntimeError if it is not the one that the network was trained on."""
    data = _found(name)
    if hashlib.sha256(data).hexdigest() != PHOTOGRAPHS[name]:
        raise RuntimeError(
            f"{name} is not the file that the network was trained on: install scikit-image 0.25.2, or uninstall it."
        )
    return data


def _found(name: str) -> bytes:
    if name in ("china.jpg", "flower.jpg"):
        return (resources.files("sklearn.datasets") / "images" / name).read_bytes()
    installed = importlib.util.find_spec("skimage")
    if installed is not None:
        return (Path(installed.submodule_search_locations[0]) / "data" / name).read_bytes()
    with zipfile.ZipFile(SCIKIT_IMAGE.wheel()) as wheel:
        return wheel.read(f"skimage/data/{name}")
