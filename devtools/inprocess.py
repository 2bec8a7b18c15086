"""Loads the pack into this process with ComfyUI's own loader, for tests and benchmarks without a server."""

from __future__ import annotations

import asyncio
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from .comfyui import ROOT, comfyui_path, needs_cpu_flag


@cache
def load_comfyui() -> Path:
    """Make `comfy` importable. On a machine without an accelerator, set its CPU flag before it looks for one."""
    path = comfyui_path()
    sys.path.insert(0, str(path))
    import comfy.cli_args

    comfy.cli_args.args.cpu = needs_cpu_flag()
    comfy.cli_args.args.disable_api_nodes = True
    return path


@cache
def load_pack() -> ModuleType:
    """The pack, loaded by path as a custom node."""
    load_comfyui()
    import nodes

    if not asyncio.run(nodes.load_custom_node(str(ROOT))):
        raise RuntimeError("ComfyUI could not load the pack: see the log above.")
    return sys.modules[str(ROOT).replace(".", "_x_")]


def pack_module(name: str) -> ModuleType:
    """A module of the pack, such as "nodes.demo.model"."""
    return sys.modules[f"{load_pack().__name__}.{name}"]
