"""The demo's table: each solver's error to the converged solution, with guidance off and on.

It uses the real ComfyUI, the demo model, whose denoiser is exact, CFG, float32 and equal model calls.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from devtools.inprocess import load_pack, pack_module

CALLS = (16, 32)
CFG = 3.0
SIZE, BATCH = 96, 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kind", choices=["eps", "v", "flow"], nargs="*", default=["eps", "flow"], help="kinds of model"
    )
    arguments = parser.parse_args()
    load_pack()
    demo = pack_module("nodes.demo.model")
    erk = pack_module("erk")
    modes = [mode for mode in erk.MODES if mode != "off"]

    rows = []
    for kind in arguments.kind:
        model = demo.build_demo_model(kind)
        noise = torch.randn((BATCH, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))

        def sample(solver: str, sigmas: Tensor, mode: str, model=model, noise=noise, demo=demo) -> Tensor:
            return _sample(demo, model, noise, solver, sigmas, mode)

        reference = sample("heun", _reference_sigmas(model, 160), "off")
        coarser = sample("heun", _reference_sigmas(model, 80), "off")
        doubt = _error(coarser, reference) / 3  # Heun's error falls to a quarter
        print(f"{kind}: the reference has 160 Heun steps and an error of about {doubt:.1e}", file=sys.stderr)
        for solver in erk.SOLVERS:
            for calls in CALLS:
                a_step = erk.SOLVERS[solver].calls
                steps = calls // a_step
                sigmas = _schedule(model, steps)
                errors = {mode: _error(sample(solver, sigmas, mode), reference) for mode in ("off", *modes)}
                made = a_step * (steps - 1) + 1  # the last step makes one call
                rows.append((kind, solver, made, errors))

    heads = "".join(f"{mode:>12}{'ratio':>8}" for mode in modes)
    print(f"{'model':<7}{'solver':<10}{'calls':>6}{'off':>10}{heads}")
    for kind, solver, made, errors in rows:
        cells = "".join(f"{errors[mode]:>12.4f}{errors[mode] / errors['off']:>8.2f}" for mode in modes)
        print(f"{kind:<7}{solver:<10}{made:>6}{errors['off']:>10.4f}{cells}")
    print(
        "Error: root mean square distance to the converged solution, in units where black is -1 and white is 1. Less "
        "is better."
    )
    return 0


def _schedule(model, steps: int) -> Tensor:
    import comfy.model_sampling
    import comfy.samplers

    sampling = model.get_model_object("model_sampling")
    name = "simple" if isinstance(sampling, comfy.model_sampling.CONST) else "karras"
    return comfy.samplers.calculate_sigmas(sampling, name, steps)


def _reference_sigmas(model, steps: int) -> Tensor:
    """A fine schedule whose last interval is refined geometrically, so that it ends at the ODE's end point."""
    sigmas = _schedule(model, steps)
    tail = torch.logspace(float(sigmas[-2].log10()), -4.7, steps // 2)[1:]
    return torch.cat([sigmas[:-1], tail, sigmas.new_zeros(1)])


def _sample(demo, model, noise: Tensor, solver: str, sigmas: Tensor, mode: str) -> Tensor:
    import comfy.sample
    import comfy.samplers

    samplers = pack_module("nodes.samplers")
    sampler = comfy.samplers.KSAMPLER(samplers.SAMPLERS[f"erk_{solver}"], {"mode": mode})
    positive, negative = demo.class_conditioning("arcs"), demo.class_conditioning("everything")
    return comfy.sample.sample_custom(
        model, noise, CFG, sampler, sigmas, positive, negative, torch.zeros_like(noise), disable_pbar=True, seed=0
    )


def _error(samples: Tensor, reference: Tensor) -> float:
    return (samples - reference).flatten(1).square().mean(1).sqrt().mean().item()


if __name__ == "__main__":
    sys.exit(main())
