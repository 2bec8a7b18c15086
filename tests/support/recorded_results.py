"""The samplers' results at their last intended change, as sums and samples: tests/support/recorded_results.json.

Code that only moves must give the same results (tests/erk/test_recorded_results.py). After an intended change, record
them again:

    python tests/support/recorded_results.py            records
    python tests/support/recorded_results.py --compare  prints the largest difference for each solver and mode

All inputs are whole numbers divided by a power of two, and all models use plain arithmetic. So they are the same
everywhere.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import erk

FILE = Path(__file__).with_suffix(".json")
STEPS = 7
SHAPES = {"rank 3": (2, 3, 24), "rank 4": (2, 3, 8, 12), "rank 5": (2, 2, 3, 6, 4), "packed": (2, 1, 96)}
PROCESSES = {"sigma-space": erk.SIGMA_SPACE, "flow": erk.FLOW}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ORDERS = {"deis": (2, 4), "abm": (2, 4)}
"""In addition to the default one."""


@dataclass(frozen=True)
class Case:
    """One run of erk.integrate."""

    solver: str
    mode: str
    process: str
    shape: str
    dtype: str = "float32"
    region: bool = False
    max_order: int | None = None

    def __str__(self) -> str:
        more = [f"order {self.max_order}"] if self.max_order else []
        more += ["region"] if self.region else []
        return ", ".join([self.solver, self.mode, self.process, self.shape, self.dtype, *more])

    def run(self, trace: erk.Trace | None = None) -> Tensor:
        process, dtype = PROCESSES[self.process], DTYPES[self.dtype]
        x = numbers(SHAPES[self.shape]) * (1.0 if process.is_flow else 14.5)
        region = None
        if self.region:
            region = (torch.arange(x.shape[-1]) >= x.shape[-1] // 3).float().expand(1, 1, *x.shape[2:])
        return erk.integrate(
            model_of(process),
            x.to(dtype),
            schedule(process),
            erk.make_solver(self.solver, process, self.max_order),
            erk.make_guidance(self.mode, None, None, STEPS),
            process,
            trace=trace,
            region=region,
        )


def cases() -> Iterator[Case]:
    """Every solver, mode and process on every shape.

    Half precision, a region and other orders are only run on a picture.
    """
    for solver, mode, process in itertools.product(erk.SOLVERS, erk.MODES, PROCESSES):
        for shape in SHAPES:
            yield Case(solver, mode, process, shape)
        for dtype in ("bfloat16", "float16"):
            yield Case(solver, mode, process, "rank 4", dtype)
        for shape in ("rank 4", "rank 5"):
            yield Case(solver, mode, process, shape, region=True)
        for order in ORDERS.get(solver, ()):
            yield Case(solver, mode, process, "rank 4", max_order=order)


def numbers(shape: tuple[int, ...]) -> Tensor:
    """Roughly noise of variance 1: sums of four digits of a linear congruential generator, divided by 32."""
    state, values = 1, []
    for _ in range(math.prod(shape)):
        total = 0
        for _ in range(4):
            state = (1103515245 * state + 12345) % 2**31
            total += (state >> 16) % 64
        values.append((total - 126) / 32)
    return torch.tensor(values).view(shape)


def schedule(process: erk.NoiseProcess) -> Tensor:
    """STEPS + 1 levels that every binary number format represents exactly."""
    if process.is_flow:
        return torch.tensor([1.0, 0.9375, 0.875, 0.75, 0.625, 0.4375, 0.25, 0.0])
    return torch.tensor([14.5, 8.0, 4.25, 2.0, 0.875, 0.25, 0.0625, 0.0])


def model_of(process: erk.NoiseProcess) -> Callable[[Tensor, Tensor], Tensor]:
    """A nonlinear denoiser that mixes neighbours. It keeps the sign of x and limits large values."""

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.view(-1, *(1,) * (x.ndim - 1))
        alpha = 1 - sigma if process.is_flow else 1.0
        y = alpha * (x + 0.5 * x.roll(1, -1) + 0.25 * x.roll(3, 1)) / (alpha**2 + sigma**2)
        return 1.5 * y / (1.25 + y.abs()) + 0.125 * y

    return model


def record_of(x: Tensor) -> list[float]:
    """The sum of the values, the sum of their absolute values, and five of the values."""
    flat = x.double().flatten()
    return [float(flat.sum()), float(flat.abs().sum()), *flat[:: max(len(flat) // 4, 1)][:5].tolist()]


def record_of_trace(trace: erk.Trace) -> list[float]:
    """For each measured number, its finite values summed over steps and samples.

    The error is an estimate with tests of its own, and no noise is added in these runs.
    """
    sums = []
    for field in fields(erk.StepRecord):
        if field.name == "error" or field.name.startswith("noise"):
            continue
        values = [getattr(step, field.name) for step in trace.steps]
        flat = [value for part in values for value in (part if isinstance(part, list) else [part])]
        if not isinstance(flat[0], str):
            sums.append(math.fsum(value for value in flat if math.isfinite(value)))
    return sums


def main() -> int:
    torch.set_num_threads(1)
    made = {}
    for case in cases():
        trace = erk.Trace()
        made[str(case)] = {"result": record_of(case.run(trace)), "trace": record_of_trace(trace)}
    if "--compare" not in sys.argv:
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in made.items())
        FILE.write_text("{\n" + lines + "\n}\n")
        print(f"{len(made)} runs in {FILE.name}")
        return 0
    known, worst = json.loads(FILE.read_text()), defaultdict(float)
    for key, value in made.items():
        solver, mode, _, _, dtype, *_ = key.split(", ")
        for part, values in value.items():
            worst[solver, mode, dtype, part] = max(
                worst[solver, mode, dtype, part], difference(values, known[key][part])
            )
    for key, value in worst.items():
        print(*key, f"{value:.1e}")
    return 0


def difference(values: list[float], known: list[float]) -> float:
    """The largest difference. Each is divided by the size of its number, or by 1."""
    return max(abs(a - b) / max(abs(b), 1.0) for a, b in zip(values, known, strict=True))


if __name__ == "__main__":
    sys.exit(main())
