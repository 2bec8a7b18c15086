"""Models with known answers, for tests of the method."""

from __future__ import annotations

import torch
from torch import Tensor

import erk

PROCESSES = (erk.SIGMA_SPACE, erk.FLOW)


def column(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.view(-1, *(1,) * (x.ndim - 1))


class Counted:
    """A model that counts its calls."""

    def __init__(self, model) -> None:
        self.model = model
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return self.model(x, sigma)


def gaussian(process: erk.NoiseProcess, scale: float = 0.7):
    """Exact denoiser of N(0, scale^2): D = alpha S^2 / (alpha^2 S^2 + sigma^2) x."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = column(sigma, x)
        alpha = 1 - sigma if process.is_flow else torch.ones_like(sigma)
        return alpha * scale**2 / (alpha**2 * scale**2 + sigma**2) * x

    return denoise


def gaussian_std(process: erk.NoiseProcess, sigma: float, scale: float = 0.7) -> float:
    """The ODE's exact solution is proportional to this."""
    return (process.alpha(sigma) ** 2 * scale**2 + sigma**2) ** 0.5


def bent(x: Tensor, sigma: Tensor) -> Tensor:
    """A smooth nonlinear denoiser that mixes the elements of a sample, but never two samples."""
    sigma = column(sigma, x)
    mixed = x + 0.3 * x.roll(1, dims=-1) - 0.2 * x.flip(-1)
    return torch.tanh(mixed / (1 + sigma)) + 0.1 * torch.sin(3 * x) / (1 + sigma)


def mixture(process: erk.NoiseProcess, shape: tuple[int, ...], count: int = 12, width: float = 0.15, seed: int = 3):
    """Exact denoiser of a mixture of narrow Gaussians around smooth random pictures: nonlinear, with jumps."""
    generator = torch.Generator().manual_seed(seed)
    size = [1, *shape[1:]]
    centres = torch.randn((count, *shape), generator=generator, dtype=torch.float64)
    for axis, n in enumerate(size[1:], start=2):
        kernel = torch.exp(
            -(torch.cdist(torch.arange(n)[:, None].double(), torch.arange(n)[:, None].double()) ** 2) / 6
        )
        centres = torch.tensordot(centres, kernel / kernel.sum(0), dims=([axis], [0])).movedim(-1, axis)
    centres = (centres / centres.std()).flatten(1)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        mean, sigma = centres.to(x.dtype), sigma.view(-1, 1)
        alpha = 1 - sigma if process.is_flow else torch.ones_like(sigma)
        flat, v = x.flatten(1), alpha**2 * width**2 + sigma**2
        weight = torch.softmax((alpha * (flat @ mean.T) - 0.5 * alpha**2 * mean.square().sum(1)) / v, dim=1)
        gain = alpha * width**2 / v
        return (gain * flat + (1 - gain * alpha) * (weight @ mean)).view_as(x)

    return denoise


def spoiled(model, level: float, batch: int):
    """The model, but with NaN for the second sample at one noise level, if the batch is whole."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        out = model(x, sigma)
        if abs(float(sigma[0]) - level) < 1e-6 and x.shape[0] == batch:
            out[1] = float("nan")
        return out

    return denoise


def schedule(process: erk.NoiseProcess, steps: int) -> Tensor:
    """Noise levels as samplers see them: from (nearly) no signal down to 0."""
    if process.is_flow:
        t = torch.linspace(1, 0, steps + 1)
        return 3 * t / (1 + 2 * t)
    ramp = torch.linspace(0, 1, steps)
    levels = (14.6 ** (1 / 7) + ramp * (0.03 ** (1 / 7) - 14.6 ** (1 / 7))) ** 7
    return torch.cat([levels, levels.new_zeros(1)])


def start(shape, process: erk.NoiseProcess, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (noise * (1.0 if process.is_flow else 14.6)).to(dtype)


def run(
    model, x: Tensor, sigmas: Tensor, solver: str, process: erk.NoiseProcess, mode: str = "paper", **options
) -> Tensor:
    w_stiff, w_con = options.pop("w_stiff", None), options.pop("w_con", None)
    return erk.integrate(
        model,
        x,
        sigmas,
        erk.make_solver(solver, process, options.pop("max_order", None)),
        erk.make_guidance(mode, w_stiff, w_con, max(len(sigmas) - 1, 1)),
        process,
        **options,
    )
