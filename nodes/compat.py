"""What differs between ComfyUI versions, in one place."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from comfy_api.latest import io

# Cosmetic keywords that ComfyUI learnt after 0.3.48, the first version with this node API.
_NEWER = ("search_aliases", "essentials_category", "advanced")


def make(kind: Any, *args: Any, **keywords: Any) -> Any:
    """Build a Schema or an Input, without the cosmetic keywords that this ComfyUI does not know."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{key: value for key, value in keywords.items() if key in known or key not in _NEWER})


Trace = io.Custom("ERK_TRACE")
"""The trace's type on a wire."""

# ComfyUI's own top-level module, not this folder.
core_nodes = importlib.import_module("nodes")

SAMPLING = core_nodes.KSampler.CATEGORY
"""Where the core samplers stand in the menu: "sampling" in older versions, "model/sampling" in newer."""

SAMPLERS_CATEGORY = SAMPLING + ("/custom_sampling/samplers" if SAMPLING == "sampling" else "/samplers")
"""Where the nodes stand that give a SAMPLER."""
