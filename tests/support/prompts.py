"""Prompts as a page sends them, of nodes by name, and the pictures that come back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from devtools.comfyui import Server


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def demo(kind: str = "eps", batch: int = 1, side: int = 64) -> dict[str, Any]:
    return {"demo": node("DemoModelERKGuid", kind=kind, pictures="arcs", width=side, height=side, batch_size=batch)}


WIRES = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent_image": ["demo", 4]}


def saved(latent: list[Any], name: str = "save") -> dict[str, Any]:
    return {
        f"{name}_decode": node("VAEDecode", samples=latent, vae=["demo", 3]),
        name: node("SaveImage", images=[f"{name}_decode", 0], filename_prefix="test"),
    }


def stock_ksampler(sampler: str, seed: int = 1, steps: int = 8, **more: Any) -> dict[str, Any]:
    inputs = {
        **WIRES,
        "seed": seed,
        "steps": steps,
        "cfg": 3.0,
        "sampler_name": sampler,
        "scheduler": "karras",
        "denoise": 1.0,
        **more,
    }
    return {"sampler": node("KSampler", **inputs)}


def erk_ksampler(solver: str, mode: str = "paper", seed: int = 1, steps: int = 8, **more: Any) -> dict[str, Any]:
    inputs = {
        **WIRES,
        "seed": seed,
        "steps": steps,
        "cfg": 3.0,
        "solver": solver,
        "scheduler": "karras",
        "denoise": 1.0,
        "mode": mode,
        **more,
    }
    return {"sampler": node("KSamplerERKGuid", **inputs)}


def custom(solver: str, mode: str = "paper", seed: int = 1, steps: int = 8, **more: Any) -> dict[str, Any]:
    return {
        "noise": node("RandomNoise", noise_seed=seed),
        "guider": node("CFGGuider", model=["demo", 0], positive=["demo", 1], negative=["demo", 2], cfg=3.0),
        "erk": node("SamplerERKGuid", solver=solver, mode=mode, **more),
        "sigmas": node("BasicScheduler", model=["demo", 0], scheduler="karras", steps=steps, denoise=1.0),
        "sampler": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["erk", 0],
            sigmas=["sigmas", 0],
            latent_image=["demo", 4],
        ),
    }


def images(server: Server, outputs: dict[str, Any], name: str = "save") -> np.ndarray:
    files = [server.image(reference) for reference in outputs[name]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]).astype(int)


def picture(server: Server, *parts: dict[str, Any], latent: Any = ("sampler", 0)) -> np.ndarray:
    prompt = {key: value for part in (demo(), *parts, saved(list(latent))) for key, value in part.items()}
    return images(server, server.run(prompt))
