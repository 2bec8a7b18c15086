"""CUDA tensors without content, on a machine without CUDA. They show what code asks of the device.

torch's fake tensors only know their shape, dtype and device. So code that reads a value back, mixes devices, or waits
for a copy raises an error here. This does not show values, times or memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._pytree import tree_leaves


class WaitsForDeviceError(AssertionError):
    """The host would wait for the device."""


class FakeCuda(FakeTensorMode):
    """Inside it, tensors on "cuda" are fake. Tensors on the host stay real, because tables are computed there."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        devices = [torch.device(leaf) for leaf in leaves if isinstance(leaf, torch.device)]
        fake = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        to_device = any(device.type == "cuda" for device in devices)
        if func is torch.ops.aten._to_copy.default or func is torch.ops.aten.copy_.default:
            if fake and any(device.type == "cpu" for device in devices):
                raise WaitsForDeviceError(f"{func}: copied to the host")
            if to_device and not fake and not kwargs.get("non_blocking"):
                raise WaitsForDeviceError(f"{func}: copied from the host, and waited for")
        if fake or to_device:
            return super().__torch_dispatch__(func, types, args, kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)
