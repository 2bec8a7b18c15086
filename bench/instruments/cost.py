"""What a k-diffusion sampler costs in addition to the model: time per step, kernels, memory, waits for the device."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Zero:
    """The denoiser that costs one kernel, with the attributes that a k-diffusion sampler uses.

    Each prediction has memory of its own, as a model's has.
    """

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
            self.times.append(clock(x.device))
        return self.prediction.clone()

    def steps_seconds(self, steps: int, warm: int) -> list[float]:
        """How long each step of the run took, without the first ``warm`` steps and the last one."""
        begins = self.times[:: 2 if self.calls > steps else 1]  # the last step makes one call fewer
        return [later - begin for begin, later in itertools.pairwise(begins[warm:])]


_aten = torch.ops.aten
_COMPUTE_NOTHING = {_aten.empty, _aten.new_empty, _aten.empty_like, _aten.empty_strided, _aten._unsafe_view}
"""They make memory or a view of it."""


class Allocations(TorchDispatchMode):
    """Counts the kernels that run while it is active, and the bytes of the storages that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket not in _COMPUTE_NOTHING:
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


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def seconds(work: Callable[[], object], device: torch.device, repeats: int, warm: int = 1) -> float:
    """The shortest time of several runs."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        begin = clock(device)
        work()
        times.append(clock(device) - begin)
    return min(times)


def counted(work: Callable[[], object]) -> Allocations:
    with Allocations() as counts:
        work()
    return counts


def memory(work: Callable[[], object], x: Tensor) -> float:
    """The peak of what the work allocates, in float32 latents."""
    size = 4 * x.numel()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        work()
        return (torch.cuda.max_memory_allocated(x.device) - before) / size
    return counted(work).peak / size


def waits(work: Callable[[], object], device: torch.device) -> str:
    """Whether a step waits for the device: "no", or what waited, or "no device".

    The schedule is read from the device once at the start, so the check begins with the first model call.
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
