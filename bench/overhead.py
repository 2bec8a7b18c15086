"""What a step costs over the stock sampler's: python -m bench.overhead.

The model is a zero-cost denoiser (it returns the same tensor at each call), so that only the sampler's
own work is left: ComfyUI's k-diffusion functions against this pack's, called alike, in turn.

- time a step, from one step's model call to the next step's, the median over the steps of several runs, past a
  multistep solver's warm-up; in milliseconds and in passes over the latent: one pass is the out-of-place sum of a
  latent and a number, measured beside it, over and over on the same memory. On a CPU it is processor time of one
  thread;
- kernels a step: operations that compute something (on a GPU each is one launch). Mode calibrated works on large
  latents in pieces, and counts each: pieces of 2^16 numbers on a CPU, so that SDXL 1024 is one, and of 2^20 elsewhere,
  so that FLUX 1024 is;
- memory: peak of what a run allocates, in latents of float32;
- on CUDA, whether a step ever waits for the device (torch's sync debug mode set to "error").
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import erk
from devtools.inprocess import load_pack
from devtools.twins import TWINS, counterpart

from .instruments import environment
from .instruments.environment import RESULTS
from .instruments.rows import Writer

LATENTS = {"SDXL 1024": (4, 128, 128), "FLUX 1024": (16, 128, 128), "Wan 480p": (16, 21, 60, 104)}
BATCHES = (1, 4)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM, SHORT, LONG = 3, 5, 21
"""Steps until a multistep solver has its history; and of two runs whose kernels' difference is taken, of which the
longer is timed.
"""


@dataclass(frozen=True)
class Row:
    """One solver in one mode on one latent; ``over`` is the difference to the stock sampler."""

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


class Zero:
    """The zero-cost denoiser, behind what a k-diffusion sampler looks at."""

    inner_model = SimpleNamespace(
        inner_model=SimpleNamespace(model_sampling=object()),
        model_patcher=SimpleNamespace(get_model_object=lambda name: object()),
    )

    def __init__(self, x: Tensor, timed: bool = False) -> None:
        self.prediction = torch.randn_like(x)
        self.calls, self.timed = 0, timed
        self.times: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor, **options: object) -> Tensor:
        self.calls += 1
        if self.timed:
            self.times.append(_clock(x.device))
        return self.prediction

    def steps_seconds(self, steps: int) -> list[float]:
        """How long each step of the run took, but for the first and the last ones."""
        begins = self.times[:: 2 if self.calls > steps else 1]  # the last step makes one call less
        return [later - begin for begin, later in itertools.pairwise(begins[WARM:])]


class _Allocations(TorchDispatchMode):
    """Counts kernels, and the bytes of the storages made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):
            self.kernels += 1
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self._follow(tensor)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone() -> None:
            self._known.discard(key)
            self.live -= size

        weakref.finalize(tensor, gone)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the least counts")
    parser.add_argument("--quick", action="store_true", help="one latent, one batch, float32")
    parser.add_argument(
        "--all", action="store_true", help="every latent in every batch and precision, on a CPU too (hours there)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    load_pack()
    device = torch.device(options.device)
    made: list[Row] = []
    writer = Writer(options.output / "overhead.csv", Row)
    everything = options.all or device.type != "cpu"
    for name, batch, dtype in itertools.product(LATENTS, BATCHES, DTYPES):
        plain = (batch, dtype) == (BATCHES[0], "fp32")
        if not (plain and name == "FLUX 1024" if options.quick else plain or everything or name == "SDXL 1024"):
            continue
        x = torch.randn((batch, *LATENTS[name]), device=device).mul_(14.6).to(DTYPES[dtype])
        for solver in erk.SOLVERS:
            for row in measure(solver, x, name, dtype, options.repeats):
                writer.write(row)
                made.append(row)
        print(f"{name}, batch {batch}, {dtype}", file=sys.stderr)
    command = "python -m bench.overhead" + (" --quick" if options.quick else "") + (" --all" if options.all else "")
    environment.record(options.output / "overhead.json", command)
    (options.output / "OVERHEAD.md").write_text(report(made, environment.sentence(options.output / "overhead.json")))
    print(options.output / "OVERHEAD.md")
    return 0


def measure(solver: str, x: Tensor, latent: str, dtype: str, repeats: int) -> list[Row]:
    """The solver in each mode against its stock counterpart, on one latent."""
    import comfy.k_diffusion.sampling as k_diffusion

    def run(mode: str, steps: int = LONG, timed: bool = False) -> Zero:
        model = Zero(x, timed)
        sigmas = torch.cat([torch.linspace(14.6, 0.1, steps), torch.zeros(1)]).to(x.device)
        name, options = TWINS[counterpart(solver) or "euler"] if mode == "stock" else (f"erk_{solver}", {"mode": mode})
        getattr(k_diffusion, f"sample_{name}")(model, x, sigmas, disable=True, **options)
        return model

    modes = ("stock", "off", "paper", "calibrated")
    calls = {mode: run(mode).calls for mode in modes}
    for mode in modes:
        run(
            mode, SHORT
        )  # so that tables, which a run of this schedule finds made ever after, are not counted as its kernels
    # In turn, so that a machine that grows slower does so for all.
    steps_seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(repeats):
        for mode in modes:
            steps_seconds[mode] += run(mode, timed=True).steps_seconds(LONG)
    seconds = {mode: statistics.median(steps_seconds[mode]) for mode in modes}
    one_pass = _seconds(lambda: torch.add(x, 1.0), x.device, repeats * 20, warm=3)
    memory = {mode: _memory(lambda mode=mode: run(mode), x) for mode in modes}
    rows = []
    for mode in modes[1:]:
        kernels = [_counted(lambda steps=steps, mode=mode: run(mode, steps)).kernels for steps in (LONG, SHORT)]
        over = seconds[mode] - seconds["stock"]
        rows.append(
            Row(
                x.device.type,
                latent,
                len(x),
                dtype,
                solver,
                mode,
                calls[mode],
                calls["stock"],
                1e3 * seconds[mode],
                1e3 * over,
                over / one_pass,
                (kernels[0] - kernels[1]) / (LONG - SHORT),
                memory[mode] - memory["stock"],
                _waits(lambda mode=mode: run(mode), x.device),
            )
        )
    return rows


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _seconds(work: Callable[[], object], device: torch.device, repeats: int, warm: int = 1) -> float:
    """The least time of several runs."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        begin = _clock(device)
        work()
        times.append(_clock(device) - begin)
    return min(times)


def _counted(work: Callable[[], object]) -> _Allocations:
    with _Allocations() as allocations:
        work()
    return allocations


def _memory(work: Callable[[], object], x: Tensor) -> float:
    """Peak of what the work allocates, in float32 latents."""
    size = 4 * x.numel()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        work()
        return (torch.cuda.max_memory_allocated(x.device) - before) / size
    return _counted(work).peak / size


def _waits(work: Callable[[], object], device: torch.device) -> str:
    """Whether a step waits for the device: "no", what waited, or that there is nothing to wait for.

    The schedule is read from the device once at the start, so the check is on while the model is being
    called and what follows, not before.
    """
    if device.type != "cuda":
        return "no device"
    before = Zero.__call__

    def checked(self, x, sigma, **options):
        torch.cuda.set_sync_debug_mode("error")
        return before(self, x, sigma, **options)

    Zero.__call__ = checked
    try:
        work()
        return "no"
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        Zero.__call__ = before


def report(made: list[Row], sentence: str) -> str:
    """The rows as a page of Markdown."""
    lines = ["# What a step costs", "", sentence, ""]
    lines += [line.strip() for line in __doc__.splitlines()[2:]]
    lines += ["", "## Median over the latents, batches and precisions", "",
    "| solver | mode | kernels a step | passes over the latent | memory, latents | model calls |"]  # fmt: skip
    lines += ["|---|---|---:|---:|---:|---|"]
    for solver in erk.SOLVERS:
        for mode in ("off", "paper", "calibrated"):
            rows = [row for row in made if (row.solver, row.mode) == (solver, mode)]
            median = {
                name: statistics.median(getattr(row, name) for row in rows)
                for name in ("kernels", "over_passes", "over_memory")
            }
            same = "as stock" if all(row.calls == row.stock_calls for row in rows) else "**not as stock**"
            lines.append(
                f"| {solver} | {mode} | {median['kernels']:.0f} | {median['over_passes']:+.1f} | "
                f"{median['over_memory']:+.1f} | {same} |"
            )
    lines += [
        "",
        "## All",
        "",
        "| device | latent | batch | precision | solver | mode | ms a step | over stock | passes | memory | waits |",
    ]
    lines += ["|---|---|---:|---|---|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {row.device} | {row.latent} | {row.batch} | {row.dtype} | {row.solver} | {row.mode} | {row.ms:.2f} | "
        f"{row.over_ms:+.2f} | {row.over_passes:+.1f} | {row.over_memory:+.1f} | {row.waits} |"
        for row in made
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
