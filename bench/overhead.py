"""What a step costs in addition to the stock sampler's step: python -m bench.overhead.

The model is a denoiser that costs next to nothing: it copies a tensor. So little but the sampler's own work is left.
ComfyUI's k-diffusion functions and this pack's are called in the same way, in turn.

- Time per step is measured from one step's model call to the next step's. It is the median over the steps of several
  runs, after a multistep solver's warm-up. It is given in milliseconds and in passes over the latent. One pass is the
  out-of-place sum of a latent and a number, measured in the same run, repeatedly on the same memory. On a CPU, the time
  is the processor time of one thread.
- Kernels per step are the operations that compute something. On a GPU, each is one launch. Mode calibrated works on
  large latents in pieces, and each piece counts. A piece has up to 2^16 numbers on a CPU, so SDXL 1024 is one piece. It
  has up to 2^20 numbers elsewhere, so FLUX 1024 is one piece.
- Memory is the peak of what a run allocates, in latents of float32.
- On CUDA, the last column says whether a step ever waits for the device (torch's sync debug mode is set to "error").
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import erk
from devtools.inprocess import load_pack
from devtools.twins import TWINS, counterpart

from .instruments import command, environment, rows
from .instruments.cost import Allocations, Zero, memory, seconds, waits
from .instruments.tables import page, table

LATENTS = {"SDXL 1024": (4, 128, 128), "FLUX 1024": (16, 128, 128), "Wan 480p": (16, 21, 60, 104)}
BATCHES = (1, 4)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM, SHORT, LONG = 3, 5, 21
"""Numbers of steps: until a multistep solver has its history, and of a short and a long run.

Kernels per step come from the difference of the two runs. The long run is timed.
"""


@dataclass(frozen=True)
class Row:
    """One solver in one mode on one latent. Names with ``over`` are differences from the stock sampler."""

    device: str
    latent: str
    batch: int
    dtype: str
    solver: str
    mode: str
    calls: int
    stock_calls: int
    ms: float
    over_ms: float
    over_passes: float
    kernels: float
    over_memory: float
    waits: str


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser("overhead", __doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs that are timed; the median over their steps counts"
    )
    parser.add_argument("--quick", action="store_true", help="one latent, one batch, float32")
    parser.add_argument(
        "--all", action="store_true", help="every latent in every batch and precision even on a CPU, which takes hours"
    )
    options = parser.parse_args(arguments)
    folder = command.begin(options)
    csv, record, written = (folder / name for name in ("overhead.csv", "overhead.json", "OVERHEAD.md"))
    if not options.report:
        load_pack()
        measure_all(options, csv)
        environment.record(record, command.text(parser, options))
    written.write_text(report(rows.need(csv, Row), environment.sentence(record)))
    print(csv, written, sep="\n")
    return 0


def measure_all(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    device = torch.device(options.device)
    everything = options.all or device.type != "cpu"
    for name, batch, dtype in itertools.product(LATENTS, BATCHES, DTYPES):
        plain = (batch, dtype) == (BATCHES[0], "fp32")
        if not (plain and name == "FLUX 1024" if options.quick else plain or everything or name == "SDXL 1024"):
            continue
        x = torch.randn((batch, *LATENTS[name]), device=device).mul_(14.6).to(DTYPES[dtype])
        for solver in (*erk.SOLVERS, *erk.NOISY):
            for row in measure(solver, x, name, dtype, options.repeats):
                writer.write(row)
        print(f"{name}, batch {batch}, {dtype}", file=sys.stderr)


def modes_of(solver: str) -> tuple[str, ...]:
    """The paper has no rule for a solver that adds noise."""
    return tuple(mode for mode in erk.MODES[::-1] if mode != "paper" or solver in erk.SOLVERS)


def stock(solver: str) -> tuple[str, dict[str, Any]]:
    """ComfyUI's sampler to compare with, and its options. Those that add noise have the same name there."""
    return (solver, {}) if solver in erk.NOISY else TWINS[counterpart(solver) or "euler"]


def measure(solver: str, x: Tensor, latent: str, dtype: str, repeats: int) -> list[Row]:
    """The solver in each mode, compared with its stock counterpart, on one latent."""
    import comfy.k_diffusion.sampling as k_diffusion

    def run(mode: str, steps: int = LONG, timed: bool = False) -> Zero:
        model = Zero(x, timed)
        sigmas = torch.cat([torch.linspace(14.6, 0.1, steps), torch.zeros(1)]).to(x.device)
        name, options = stock(solver) if mode == "stock" else (f"erk_{solver}", {"mode": mode})
        getattr(k_diffusion, f"sample_{name}")(model, x, sigmas, disable=True, **options)
        return model

    modes = ("stock", *modes_of(solver))
    calls = {mode: run(mode).calls for mode in modes}
    for mode in modes:
        run(mode, SHORT)  # this makes the schedule's tables, so that they are not counted as kernels later
    # The modes take turns, so that a machine that becomes slower does so for all of them.
    steps_seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(repeats):
        for mode in modes:
            steps_seconds[mode] += run(mode, timed=True).steps_seconds(LONG, WARM)
    times = {mode: statistics.median(steps_seconds[mode]) for mode in modes}
    one_pass = seconds(lambda: torch.add(x, 1.0), x.device, repeats * 20, warm=3)
    peaks = {mode: memory(lambda mode=mode: run(mode), x) for mode in modes}
    made = []
    for mode in modes[1:]:
        kernels = []
        for steps in (LONG, SHORT):
            with Allocations() as counts:
                model = run(mode, steps)
            kernels.append(counts.kernels - model.calls)
        over = times[mode] - times["stock"]
        made.append(
            Row(
                x.device.type,
                latent,
                len(x),
                dtype,
                solver,
                mode,
                calls[mode],
                calls["stock"],
                1e3 * times[mode],
                1e3 * over,
                over / one_pass,
                (kernels[0] - kernels[1]) / (LONG - SHORT),
                peaks[mode] - peaks["stock"],
                waits(lambda mode=mode: run(mode), x.device),
            )
        )
    return made


def report(made: list[Row], sentence: str) -> str:
    """The rows as a page of Markdown."""
    medians = []
    for solver, mode in itertools.product((*erk.SOLVERS, *erk.NOISY), ("off", "paper", "calibrated")):
        here = [row for row in made if (row.solver, row.mode) == (solver, mode)]
        if not here:
            continue  # the solver is newer than the rows
        kernels, passes, latents = (
            statistics.median(getattr(row, name) for row in here) for name in ("kernels", "over_passes", "over_memory")
        )
        same = "as stock" if all(row.calls == row.stock_calls for row in here) else "**not as stock**"
        medians.append((solver, mode, f"{kernels:.0f}", f"{passes:+.1f}", f"{latents:+.1f}", same))
    everything = [
        (
            row.device, row.latent, row.batch, row.dtype, row.solver, row.mode, f"{row.ms:.2f}", f"{row.over_ms:+.2f}",
            f"{row.over_passes:+.1f}", f"{row.over_memory:+.1f}", row.waits,
        )
        for row in made
    ]  # fmt: skip
    heads = ("solver", "mode", "kernels per step", "passes over the latent", "memory, latents", "model calls")
    all_heads = (
        "device", "latent", "batch", "precision", "solver", "mode", "ms per step", "over stock", "passes", "memory",
        "waits",
    )  # fmt: skip
    return page(
        [
            "# What a step costs",
            "",
            sentence,
            "",
            *(line.strip() for line in __doc__.splitlines()[2:]),
            "",
            "## Median over the latents, batches and precisions",
            "",
            *table(heads, medians, "llrrrl"),
            "## All",
            "",
            *table(all_heads, everything, "llrlllrrrrl"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
