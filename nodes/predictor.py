"""What ComfyUI's model tells of itself through its wrappers.

The shapes of what a latent packs. And what makes a run's predictions, so that two runs can be compared: model,
patches, guider, its strength and prompts. Only what is provably the same counts as the same. Nothing is kept alive by
the comparison.
"""

from __future__ import annotations

import itertools
import math
import weakref
from typing import Any
from uuid import UUID

import comfy.patcher_extension
import comfy.samplers
import torch

_PLAIN = (type(None), bool, int, float, complex, str, bytes, UUID, torch.dtype, torch.device)

_OF_A_RUN = {"inner_model", "conds", "loaded_models", "model_patcher"}
"""Attributes of a guider that ComfyUI makes anew for each run, and one that is looked into."""

_NO_MATTER = {"uuid", "sample_sigmas", comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE}
"""Keys of what is new in each run and predicts nothing. Our own KSamplers set their options by such a wrapper."""


class _Same:
    """An object, equal to itself only, as long as it lives."""

    def __init__(self, value: Any) -> None:
        self._of = weakref.ref(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._of() is not None and self._of() is other._of()

    __hash__ = None  # pyright: ignore[reportAssignmentType]: it is compared and never looked up


def predictor(model: Any) -> Any:
    """Equal for two runs whose predictions are made in the same way; None where that does not show.

    model  what ComfyUI calls a sampler with
    """
    guider = getattr(model, "inner_model", None)
    if type(model) is not comfy.samplers.KSamplerX0Inpaint or not isinstance(guider, comfy.samplers.CFGGuider):
        return None  # another pack's wrapper, which may do anything
    patcher = guider.model_patcher
    of_patcher = [getattr(patcher, name, None) for name in ("patches_uuid", "object_patches", "weight_wrapper_patches")]
    of_guider = {name: value for name, value in vars(guider).items() if name not in _OF_A_RUN}
    return _comparable([type(guider), patcher.model, of_patcher, of_guider])


def packed(model: Any, x: torch.Tensor) -> tuple[torch.Size, ...]:
    """Shapes of the latents that x packs, such as a video and its sound, as ComfyUI tells models; none if it is one."""
    guider = getattr(model, "inner_model", None)
    if not isinstance(guider, comfy.samplers.CFGGuider):
        return ()
    for cond in itertools.chain(*(conds or () for conds in guider.conds.values())):
        told = getattr(cond.get("model_conds", {}).get("latent_shapes"), "cond", ())
        if len(told) > 1 and sum(math.prod(shape[1:]) for shape in told) == x[0].numel():
            return tuple(torch.Size((len(x), *shape[1:])) for shape in told)
    return ()


def innermost(model: Any) -> Any:
    """What all wrappers lead to: ComfyUI's BaseModel."""
    seen: set[int] = set()
    while id(model) not in seen and getattr(model, "inner_model", None) is not None:
        seen.add(id(model))
        model = model.inner_model
    return model


def _comparable(value: Any) -> Any:
    """Plain values and containers as they are, and any other object as itself."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return [(key if isinstance(key, _PLAIN) else _comparable(key), _comparable(of_key))
                for key, of_key in value.items() if key not in _NO_MATTER]  # fmt: skip
    if isinstance(value, list | tuple | set):
        return [_comparable(one) for one in value]
    try:
        return _Same(value)
    except TypeError:  # not to be referred to weakly
        return object()  # equal to nothing else
