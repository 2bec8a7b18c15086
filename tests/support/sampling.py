"""The demo model sampled through ComfyUI in this process."""

from __future__ import annotations

import torch

from devtools.inprocess import load_pack, pack_module

load_pack()

import comfy.model_sampling  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402

demo = pack_module("nodes.demo.model")


def sigmas_for(model, steps: int, scheduler: str | None = None) -> torch.Tensor:
    sampling = model.get_model_object("model_sampling")
    flow = isinstance(sampling, comfy.model_sampling.CONST)
    return comfy.samplers.calculate_sigmas(sampling, scheduler or ("simple" if flow else "karras"), steps)


def sample(model, sampler: str, sigmas, options=None, cfg=3.0, size=64, batch=2, seed=5, callback=None):
    noise = torch.randn((batch, 3, size, size), generator=torch.Generator().manual_seed(seed))
    kind = comfy.samplers.ksampler(sampler, options or {})
    positive, negative = demo.class_conditioning("arcs"), demo.class_conditioning("everything")
    return comfy.sample.sample_custom(
        model,
        noise,
        cfg,
        kind,
        sigmas,
        positive,
        negative,
        torch.zeros_like(noise),
        callback=callback,
        disable_pbar=True,
        seed=seed,
    )
