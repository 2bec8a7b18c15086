"""Makes the pictures of the help pages and the README's plot: `python -m devtools.make.help_pictures`.

COMFYUI_PATH must be set. Everything is sampled here with the demo model, through ComfyUI's own functions.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from typing import Any

from ..comfyui import ROOT
from ..inprocess import load_pack, pack_module

FOLDER = ROOT / "js" / "docs" / "images"


def main() -> int:
    pack = load_pack()
    import comfy.sample
    import comfy.samplers
    import folder_paths
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    demo, runs, erk = pack_module("nodes.demo.model"), pack_module("nodes.traces.runs"), pack_module("erk")
    plot = import_module(f"{pack.__name__}.nodes.traces.figure").plot

    def sample(
        sampler: str, steps: int, mode: str | None = "calibrated", *, pictures: str = "arcs", side: int = 384,
        batch: int = 4,
        seed: int = 7, part: tuple[int, int] | None = None, latent: Any = None,
    ) -> tuple[Any, Any]:  # fmt: skip
        """The latent and the trace of a run on the demo model, or of a part of one."""
        model = demo.build_demo_model("eps", pictures)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", steps)
        trace = erk.Trace()
        options = {} if mode is None else {"mode": mode, "trace": trace}
        empty = torch.zeros((batch, 3, side, side))
        noise = comfy.sample.prepare_noise(empty, seed) if latent is None else torch.zeros_like(empty)
        result = comfy.sample.sample_custom(
            model, noise, 3.0, comfy.samplers.ksampler(sampler, options),
            sigmas if part is None else sigmas[part[0] : part[1] + 1],
            demo.class_conditioning(pictures), demo.class_conditioning(demo.all_kinds(pictures)),
            empty if latent is None else latent,
            disable_pbar=True, seed=seed,
        )  # fmt: skip
        return result, trace

    def chart(path: Any, traces: list[Any], labels: tuple[str, ...] = (), what: str = "overview", axis: str = "step",
    theme: str = "light",
              size: tuple[int, int] = (800, 620)) -> None:  # fmt: skip
        title, labelled = runs.label_runs(traces, labels)
        Image.fromarray(plot(labelled, title, what, axis, *size, theme)).save(path, optimize=True)
        print(path.relative_to(ROOT))

    def sheet(name: str, pictures: dict[str, Any], side: int = 192, across: int = 3) -> None:
        """Draw pictures side by side in rows, each with its name above it."""
        rows = -(-len(pictures) // across)
        canvas = Image.new("RGB", (across * (side + 8) - 8, rows * (side + 28) - 6), "#1b1d21")
        draw = ImageDraw.Draw(canvas)
        for i, (label, latent) in enumerate(pictures.items()):
            x, y = i % across * (side + 8), i // across * (side + 28)
            pixels = ((latent[0].movedim(0, -1).clamp(-1, 1) + 1) * 127.5).round().byte().numpy().astype(np.uint8)
            canvas.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS), (x, y + 22))
            draw.text((x + 4, y + 5), label, fill="#e6e8eb")
        canvas.save(FOLDER / name, quality=88)
        print((FOLDER / name).relative_to(ROOT))

    def convergence(path: Any) -> None:
        """Run the Convergence Test as its example workflow has it."""
        node = import_module(f"{pack.__name__}.nodes.convergence.node").ConvergenceTestERKGuid
        inputs = {one.id: one.default for one in node.define_schema().inputs if hasattr(one, "default")}
        inputs |= {"seed": 3, "cfg": 2.0, "scheduler": "karras", "calls": "6, 8, 12, 16, 24", "reference": 50}
        inputs |= {"positive": demo.class_conditioning("coffee"), "filename_prefix": "convergence"}
        inputs |= {"negative": demo.class_conditioning(demo.all_kinds("coffee"))}
        latent = {"samples": torch.zeros((4, 3, 64, 64))}
        with tempfile.TemporaryDirectory() as scratch:
            folder_paths.set_output_directory(scratch)
            folder_paths.set_temp_directory(scratch)
            inputs |= {
                "model": demo.build_demo_model("eps", "coffee"),
                "latent_image": latent,
                "sigmas": None,
                "vae": None,
            }
            image = node.execute(**inputs).args[0]
        Image.fromarray((image[0] * 255).byte().numpy()).quantize(128).save(path, optimize=True)
        print(path.relative_to(ROOT))

    FOLDER.mkdir(exist_ok=True)
    _, shown = sample("erk_heun", 16)
    chart(ROOT / "docs" / "images" / "stiffness.png", [shown], size=(1120, 800))
    chart(FOLDER / "overview.png", [shown])
    counts = [sample("erk_deis", steps, batch=1)[1] for steps in (8, 16, 32)]
    chart(FOLDER / "compare_steps.png", counts, axis="sigma", theme="dark")
    modes = [sample("erk_heun", 8, mode)[1] for mode in ("calibrated", "paper", "off")]
    chart(FOLDER / "compare_modes.png", modes, what="correction size", size=(800, 420))
    pairs = [sample("erk_deis", 16, batch=1)[1], sample("erk_heun", 8, batch=1)[1]]
    chart(FOLDER / "compare_solvers.png", pairs, what="h*rho-hat", axis="sigma", size=(800, 420), theme="dark")
    half, first = sample("erk_dpm_2", 16, batch=1, part=(0, 8))
    _, second = sample("erk_dpm_2", 16, batch=1, part=(8, 16), latent=half)
    chart(
        FOLDER / "two_parts.png",
        [first, second],
        ("first part, steps 0 to 8", "second part, from step 8"),
        "rho-hat",
        "sigma",
        size=(800, 420),
    )
    exact = sample("dpmpp_2m", 400, None, batch=1, side=96)[0]
    sheet(
        "modes.jpg",
        {
            "8 calls, mode off": sample("erk_deis", 8, "off", batch=1, side=96)[0],
            "8 calls, calibrated": sample("erk_deis", 8, batch=1, side=96)[0],
            "converged": exact,
        },
    )
    convergence(FOLDER / "convergence.png")
    kinds = {**dict.fromkeys(demo.MOSAICS, 192), **dict.fromkeys(demo.PHOTOGRAPHS, 96)}
    shown = {name: sample("erk_abm", 24, pictures=name, batch=1, side=side)[0] for name, side in kinds.items()}
    sheet("demo_pictures.jpg", shown, side=128, across=7)
    return 0


if __name__ == "__main__":
    sys.exit(main())
