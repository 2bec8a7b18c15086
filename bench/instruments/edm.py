"""What the benchmarks' learned denoisers share: the preconditioning of Karras et al. 2022, training, files."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from devtools.inprocess import pack_module

WEIGHTS = Path(__file__).parent / "weights"

AVERAGE = 0.999
"""Decay of the exponential average of the weights."""
KEPT_EVERY = 250
"""Number of steps after which the state of a training is saved."""


Denoiser = pack_module("nodes.demo.photographs").Preconditioned
level_features = pack_module("nodes.demo.photographs").level_features
"""The demo model has them too, and needs nothing of bench/."""


class Model:
    """A trained denoiser as a benchmark's model: see :class:`bench.instruments.comfy_model.Predictor`.

    classes  [B, classes] class weights of each sample, or None where the network knows no classes
    """

    def __init__(self, denoiser: Denoiser, cfg: float = 1.0, classes: Tensor | None = None) -> None:
        self.denoiser, self.cfg, self.classes = denoiser, cfg, classes

    def condition(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1) if self.classes is None else self.classes

    @torch.no_grad()
    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None = None) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, 1)
        alpha = 1 - sigma if flow else torch.ones_like(sigma)
        return self.denoiser(x, sigma, alpha, None if self.classes is None else condition)

    def guided(self, x: Tensor, sigma: float, flow: bool) -> Tensor:
        """The prediction with classifier-free guidance."""
        if self.cfg == 1.0:
            return self.predict(x, sigma, flow, self.classes)
        both = torch.cat([self.classes, torch.zeros_like(self.classes)])
        wanted, unconditional = self.predict(x.repeat(2, *[1] * (x.ndim - 1)), sigma, flow, both).chunk(2)
        return unconditional + self.cfg * (wanted - unconditional)


def noise_levels(count: int) -> Tensor:
    """Random noise levels, [count, 1]: most are where there is something to learn, some over the whole range."""
    learned = (-1.0 + 1.3 * torch.randn(count, 1)).exp()
    anywhere = (math.log(2e-3) + math.log(1000 / 2e-3) * torch.rand(count, 1)).exp()
    return torch.where(torch.rand(count, 1) < 0.85, learned, anywhere)


def train(
    denoiser: Denoiser,
    draw: Callable[[], tuple[Tensor, Tensor | None]],
    steps: int,
    rate: float,
    watch: Callable[[int, Denoiser], None] | None = None,
    resume: Path | None = None,
) -> Denoiser:
    """The denoiser's exponential average after training it: EDM's loss and weighting, Adam, a cosine schedule.

    draw    draws a batch: data [B, ...] and its class weights [B, classes], or None
    watch   called with the step and the average every thousandth step and after the last
    resume  file in which the state is saved regularly; if it exists, training continues from it to the same weights
    """
    average = copy.deepcopy(denoiser).requires_grad_(False)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=rate, betas=(0.9, 0.99))
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.03, final_div_factor=1e3)
    parts = {"denoiser": denoiser, "average": average, "optimiser": optimiser, "plan": plan}
    begin, done, mean_loss = time.monotonic(), 0, 0.0
    if resume is not None and resume.exists():
        state = torch.load(resume)
        done, mean_loss = state["step"], state["loss"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        print(f"denoiser: going on from step {done}", file=sys.stderr)
    for step in range(done + 1, steps + 1):
        data, condition = draw()
        sigma = noise_levels(len(data))
        wide = sigma.reshape(-1, *[1] * (data.ndim - 1))
        denoised = denoiser(data + wide * torch.randn_like(data), sigma, torch.ones_like(sigma), condition)
        weight = (wide**2 + denoiser.sigma_data**2) / (wide * denoiser.sigma_data) ** 2
        loss = (weight * (denoised - data).square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        plan.step()
        decay = min(AVERAGE, step / (9 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(denoiser.parameters()), 1 - decay)
        mean_loss += (float(loss.detach()) - mean_loss) * max(0.01, 1 / step)
        if step % 500 == 0:
            print(
                f"denoiser step {step}/{steps}, loss {mean_loss:.4f}, {time.monotonic() - begin:.0f} s", file=sys.stderr
            )
        if watch is not None and (step % 1000 == 0 or step == steps):
            watch(step, average)
        if resume is not None and step % KEPT_EVERY == 0:
            states = {name: part.state_dict() for name, part in parts.items()}
            partial = resume.with_suffix(".partial")
            torch.save({"step": step, "loss": mean_loss, "random": torch.get_rng_state(), **states}, partial)
            partial.replace(resume)
    return average


def save(path: Path, dtype: torch.dtype, **networks: nn.Module) -> None:
    """Write the weights of networks to one file, each under its name."""
    tensors = {
        f"{part}.{name}": t.to(dtype).contiguous()
        for part, network in networks.items()
        for name, t in network.state_dict().items()
    }
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)


def load(path: Path, maker: str, parts: Sequence[str], networks: Sequence[nn.Module]) -> None:
    """Load trained weights into networks, in float32. Raises FileNotFoundError if ``maker`` has not been run."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: python -m bench.{maker} makes it.")
    tensors = load_file(path)
    for part, network in zip(parts, networks, strict=True):
        network.load_state_dict(
            {name.removeprefix(f"{part}."): t.float() for name, t in tensors.items() if name.startswith(f"{part}.")}
        )
        network.requires_grad_(False).eval()


def weights(network: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(math.prod(p.shape) for p in network.parameters())
