"""On a CUDA device no step waits for it, half precision works, and the result equals the CPU's. Skipped without one.

Fake tensors (:mod:`fake_cuda`) are tested everywhere: nothing is read back, and no devices are mixed.
"""

from __future__ import annotations

import pytest
import torch
from fake_cuda import FakeCuda, WaitsForDeviceError
from problems import PROCESSES, bent, schedule, start
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

import erk

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device the real one is tested")
SOLVERS = pytest.mark.parametrize("solver", erk.SOLVERS)
MODES = pytest.mark.parametrize("mode", erk.MODES)
BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)


def sample(
    solver: str, mode: str, process: erk.NoiseProcess, x: Tensor, trace: erk.Trace | None = None, checked: bool = False
) -> Tensor:
    """A run of eight steps. If ``checked``, anything that waits for the device after the first model call raises."""
    sigmas = schedule(process, 8).to(x.device)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        if checked:
            torch.cuda.set_sync_debug_mode("error")
        return bent(x, sigma)

    try:
        return erk.integrate(
            model,
            x,
            sigmas,
            erk.make_solver(solver, process),
            erk.make_guidance(mode, None, None, steps=8),
            process,
            trace=trace,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@BOTH
@MODES
@SOLVERS
@pytest.mark.parametrize("traced", [False, True])
def test_no_step_waits_for_the_device(solver, mode, process, traced):
    trace = erk.Trace() if traced else None
    x = sample(solver, mode, process, start((2, 4, 16, 16), process).cuda(), trace, checked=True)
    assert torch.isfinite(x).all()
    assert trace is None or len(trace.steps) == 8


@needs_cuda
@BOTH
@MODES
@SOLVERS
def test_as_on_the_cpu(solver, mode, process):
    x = start((2, 4, 16, 16), process)
    there, here = sample(solver, mode, process, x.cuda()).cpu(), sample(solver, mode, process, x)
    assert torch.allclose(there, here, atol=1e-3 * float(here.std()))


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@BOTH
@MODES
@SOLVERS
def test_half_precision(solver, mode, process, dtype):
    x = sample(solver, mode, process, start((2, 4, 16, 16), process).to("cuda", dtype), checked=True)
    assert x.dtype == dtype and torch.isfinite(x).all()


@without_cuda
@BOTH
@MODES
@SOLVERS
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (1, 2, 3, 8, 8), (2, 3, 40)], ids=["image", "video", "audio"])
def test_nothing_is_read_back(solver, mode, process, traced, shape):
    """The same with tensors that have no values to read, with inpainting too."""
    dtype = {4: torch.float32, 5: torch.bfloat16, 3: torch.float16}[len(shape)]
    with FakeCuda():
        x = torch.empty(shape, device="cuda", dtype=dtype)
        result = erk.integrate(
            lambda x, sigma: torch.tanh(x / (1 + sigma.view(-1, *(1,) * (x.ndim - 1)))),
            x,
            schedule(process, 6),
            erk.make_solver(solver, process),
            erk.make_guidance(mode, None, None, steps=6),
            process,
            trace=erk.Trace() if traced else None,
            region=torch.empty((1, 1, *shape[2:]), device="cuda") if traced else None,
        )
    assert (result.device.type, result.dtype, result.shape) == ("cuda", dtype, shape)


@without_cuda
def test_fake_tensors_show_what_waits():
    """Shows that the test above can fail."""
    with FakeCuda():
        x = torch.empty(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            x.sum().item()
        with pytest.raises(WaitsForDeviceError):
            x.cpu()
        with pytest.raises(WaitsForDeviceError):
            torch.ones(3).to("cuda")
        with pytest.raises(RuntimeError, match="device"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError):
            bool((x > 0).any())
        torch.ones(3).to("cuda", non_blocking=True)
