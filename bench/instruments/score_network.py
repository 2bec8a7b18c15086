"""Score networks that other people trained on galaxies, read from PyPI's `galaxygrad` without its code.

The package (M. Sampson) holds mixer networks (Tolstikhin et al. 2021) in Equinox's format. This is a sequence of
NumPy arrays in the order of the layers. A network gives the score of the variance-preserving process with
integrated beta t (Song et al. 2021):

    y = alpha * data + sqrt(1 - alpha^2) * noise,   alpha = exp(-t/2),   0 <= t <= 10

So its noise level, sigma/alpha in this pack's convention, is sqrt(exp(t) - 1). It is 148 at t = 10, where the
training ended. Nothing is clipped here: at a higher level, the plane that holds the time is above 1.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .packages import Package

GALAXYGRAD = Package("galaxygrad", "0.1.9", "3bd8cbc50926b59f0e081f95622b423f79ef8949169a79d81bf96a117198e785")
FILES = {"HSC 32": "eqx_hsc_ScoreNet32.eqx", "HSC 64": "eqx_hsc_ScoreNet64.eqx", "ZTF 32": "eqx_ZTF_ScoreNet32.eqx"}
"""Networks by survey and side of the picture. HSC: Hyper Suprime-Cam; ZTF: Zwicky Transient Facility."""

TRAINED_UP_TO = 148.0
"""sigma/alpha at t = 10."""


def read_arrays(data: bytes) -> list[np.ndarray]:
    """The arrays of an .eqx file, in its order. Raises ValueError if the file is cut off or holds something else."""
    stream, arrays = io.BytesIO(data), []
    while stream.tell() < len(data):
        arrays.append(np.load(stream, allow_pickle=False))
    return arrays


class _Mixer(nn.Module):
    """One perceptron along the patches and one along the channels, each applied to the normalised input and added."""

    def __init__(self, channels: int, patches: int, patch_width: int, channel_width: int) -> None:
        super().__init__()
        self.along_patches = nn.Sequential(
            nn.Linear(patches, patch_width), nn.ReLU(inplace=True), nn.Linear(patch_width, patches)
        )
        self.along_channels = nn.Sequential(
            nn.Linear(channels, channel_width), nn.ReLU(inplace=True), nn.Linear(channel_width, channels)
        )
        self.norm_1 = nn.LayerNorm((channels, patches))
        self.norm_2 = nn.LayerNorm((patches, channels))

    def forward(self, h: Tensor) -> Tensor:
        """[B, channels, patches] -> the same."""
        h = h + self.along_patches(self.norm_1(h))
        h = h.transpose(1, 2)
        return (h + self.along_channels(self.norm_2(h))).transpose(1, 2)


class ScoreNetwork(nn.Module):
    """The score of noisy pictures with one channel.

    arrays  those of an .eqx file: input convolution, output transposed convolution, blocks, last norm, end of time
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        super().__init__()
        blocks, left = divmod(len(arrays) - 7, 12)
        if left or blocks < 1:
            raise ValueError(f"{len(arrays)} arrays do not make a network: it has 7, and 12 more for each block.")
        channels, planes, patch, _ = arrays[0].shape
        patches = arrays[-2].shape[1]
        self.side = patch * round(patches**0.5)
        self.conv_in = nn.Conv2d(planes, channels, patch, stride=patch)
        self.conv_out = nn.ConvTranspose2d(channels, planes - 1, patch, stride=patch)
        self.blocks = nn.ModuleList(_Mixer(channels, patches, len(arrays[4]), len(arrays[8])) for _ in range(blocks))
        self.norm = nn.LayerNorm((channels, patches))
        self.t_end = float(arrays[-1])
        self._fill(arrays)
        self.requires_grad_(False).eval()

    def _fill(self, arrays: Sequence[np.ndarray]) -> None:
        parameters = list(self.parameters())
        if len(parameters) != len(arrays) - 1:
            raise ValueError(f"The network has {len(parameters)} parameters, but the file has {len(arrays) - 1}.")
        for parameter, array in zip(parameters, arrays, strict=False):
            value = torch.from_numpy(array.copy())
            if parameter is self.conv_out.weight:
                # JAX convolves with the kernel as it is, [out, in, y, x]; torch's is the gradient of a convolution.
                value = value.transpose(0, 1).flip(2, 3)
            if value.numel() != parameter.numel() or (value.ndim == parameter.ndim and value.shape != parameter.shape):
                raise ValueError(
                    f"An array has the shape {tuple(array.shape)}, but {tuple(parameter.shape)} is expected there."
                )
            parameter.data = value.reshape(parameter.shape).contiguous()

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """y [B, 1, side, side], t [B] -> the score [B, 1, side, side]."""
        time = (t / self.t_end).reshape(-1, 1, 1, 1).expand(len(y), 1, *y.shape[2:])
        h = self.conv_in(torch.cat([y, time], 1))
        shape = h.shape
        h = h.flatten(2)
        for block in self.blocks:
            h = block(h)
        return self.conv_out(self.norm(h).view(shape))


class Galaxies:
    """A network as a denoiser, for sampling through ComfyUI: see :class:`bench.instruments.comfy_model.Predictor`.

    The network runs in float32, as it was trained. The rest runs in the dtype of x, so that a float64 reference keeps
    its precision where D is close to x at small sigma.
    """

    cfg = 1.0

    def __init__(self, network: ScoreNetwork) -> None:
        self.network = network
        self.shape = (1, network.side, network.side)

    def condition(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)

    @torch.no_grad()
    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None = None) -> Tensor:
        """D = x + s^2/sqrt(1 + s^2) * score (Tweedie's formula), x and s = sigma/alpha in units of alpha."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, 1, 1, 1)
        alpha = 1 - sigma if flow else torch.ones_like(sigma)
        scaled, level = x / alpha, sigma / alpha
        root = torch.sqrt(1 + level.square())
        score = self.network((scaled / root).float(), torch.log1p(level.square()).flatten().float())
        return scaled + level.square() / root * score.to(x.dtype)


def load(name: str, wheel: Path | None = None) -> ScoreNetwork:
    """A network from FILES. Raises packages.FetchError if the package cannot be fetched."""
    with zipfile.ZipFile(wheel or GALAXYGRAD.wheel()) as archive:
        return ScoreNetwork(read_arrays(archive.read(f"galaxygrad/{FILES[name]}")))
