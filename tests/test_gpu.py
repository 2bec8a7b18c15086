"""On a CUDA device: no step waits for it, half precision samples, and the result is the CPU's. Skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from problems import PROCESSES, bent, schedule, start
from torch import Tensor

import erk

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SOLVERS = pytest.mark.parametrize("solver", erk.SOLVERS)
MODES = pytest.mark.parametrize("mode", erk.MODES)
BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)


def sample(solver: str, mode: str, process: erk.NoiseProcess, x: Tensor, trace: erk.Trace | None = None, checked: bool = False) -> Tensor:
    """A run of eight steps; ``checked``: anything that waits for the device after the first model call raises."""
    sigmas = schedule(process, 8).to(x.device)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        if checked:
            torch.cuda.set_sync_debug_mode("error")
        return bent(x, sigma)

    try:
        return erk.integrate(
            model, x, sigmas, erk.make_solver(solver, process), erk.make_guidance(mode, None, None, steps=8), process, trace=trace
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")


@BOTH
@MODES
@SOLVERS
@pytest.mark.parametrize("traced", [False, True])
def test_no_step_waits_for_the_device(solver, mode, process, traced):
    trace = erk.Trace() if traced else None
    x = sample(solver, mode, process, start((2, 4, 16, 16), process).cuda(), trace, checked=True)
    assert torch.isfinite(x).all()
    assert trace is None or len(trace.steps) == 8


@BOTH
@MODES
@SOLVERS
def test_as_on_the_cpu(solver, mode, process):
    x = start((2, 4, 16, 16), process)
    there, here = sample(solver, mode, process, x.cuda()).cpu(), sample(solver, mode, process, x)
    assert torch.allclose(there, here, atol=1e-3 * float(here.std()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@BOTH
@MODES
@SOLVERS
def test_half_precision(solver, mode, process, dtype):
    x = sample(solver, mode, process, start((2, 4, 16, 16), process).to("cuda", dtype), checked=True)
    assert x.dtype == dtype and torch.isfinite(x).all()
