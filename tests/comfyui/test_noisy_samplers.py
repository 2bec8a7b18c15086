"""The samplers that add noise, through ComfyUI itself."""

from __future__ import annotations

import math

import pytest
import torch
from sampling import demo, sample, sigmas_for

from devtools.inprocess import pack_module

import comfy.samplers  # isort: skip

erk = pack_module("erk")
model_of = demo.build_demo_model
KINDS = pytest.mark.parametrize("kind", ["eps", "v", "flow"])
NOISY = pytest.mark.parametrize("solver", erk.NOISY)


class Recorded:
    """A noise sampler that keeps what it was asked, and gives the same noises again."""

    def __init__(self, shape) -> None:
        self.asked, self._shape = [], shape

    def __call__(self, sigma, sigma_next):
        self.asked.append((float(sigma), float(sigma_next)))
        return torch.randn(self._shape, generator=torch.Generator().manual_seed(len(self.asked)))


@KINDS
@NOISY
@pytest.mark.parametrize("options", [{}, {"eta": 0.4}, {"eta": 1.1, "s_noise": 0.9}], ids=str)
def test_off_is_the_stock_sampler(kind, solver, options):
    model = model_of(kind)
    sigmas = sigmas_for(model, 8)
    made, asked, seen = [], [], []
    for name, extra in ((solver, {}), (f"erk_{solver}", {"mode": "off"})):
        noise, steps = Recorded((2, 3, 64, 64)), []
        made.append(
            sample(
                model, name, sigmas, {**options, **extra, "noise_sampler": noise},
                callback=lambda i, denoised, x, total, steps=steps: steps.append((i, x.clone(), denoised.clone())),
            )
        )  # fmt: skip
        asked.append(noise.asked)
        seen.append(steps)
    assert asked[0] == asked[1] and (len(asked[0]) == 7 or options.get("eta", 1) > 1)
    assert torch.dist(*made, float("inf")) < 2e-5 * made[0].abs().max()
    for (i, x, denoised), (j, our_x, our_denoised) in zip(*seen, strict=True):
        assert (
            i == j and torch.dist(x, our_x) < 1e-4 * x.norm() and torch.dist(denoised, our_denoised) < 1e-4 * x.norm()
        )


@KINDS
@NOISY
def test_noise_is_comfyuis_own_and_seeds_are_reproducible(kind, solver):
    model = model_of(kind)
    sigmas = sigmas_for(model, 6)
    stock, off = sample(model, solver, sigmas), sample(model, f"erk_{solver}", sigmas, {"mode": "off"})
    assert torch.dist(stock, off, float("inf")) < 2e-5 * stock.abs().max()
    first, again, other = (sample(model, f"erk_{solver}", sigmas, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.isfinite().all() and not torch.equal(first, off)


@NOISY
@pytest.mark.parametrize(
    "options", [{"eta": -1.0}, {"eta": math.nan}, {"s_noise": math.inf}, {"mode": "paper"}, {"eta": 50.0}], ids=str
)
def test_bad_options_are_told_before_any_model_call(solver, options):
    model = model_of("flow")
    called = []
    model.set_model_unet_function_wrapper(lambda apply, arguments: called.append(1))
    with pytest.raises(ValueError, match="ERK-Guid: "):
        sample(model, f"erk_{solver}", sigmas_for(model, 4), options)
    assert not called


def test_they_are_listed_behind_the_others():
    names = [name for name in comfy.samplers.SAMPLER_NAMES if name.startswith("erk_")]
    assert names == [f"erk_{name}" for name in (*erk.SOLVERS, *erk.NOISY)]
