"""Which node created a trace, and with which settings. A trace itself knows nothing about ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ... import erk

_SOURCES: WeakKeyDictionary[erk.Trace, str] = WeakKeyDictionary()


def trace_of(node: str | None) -> erk.Trace:
    """A new trace, created by this node."""
    trace = erk.Trace()
    if node is not None:
        _SOURCES[trace] = node
    return trace


def source_of(trace: erk.Trace | None) -> str | None:
    """Id of the node that created the trace; None if it is not known."""
    return None if trace is None else _SOURCES.get(trace)


Prompt = Mapping[str, Mapping[str, Any]]
"""Nodes by id, each with "class_type" and "inputs"; a link is [id of the node, number of the output]."""

_SETTINGS = {"scheduler": (str, ("scheduler",)), "cfg": (int | float, ("cfg",)), "seed": (int, ("seed", "noise_seed"))}
"""What a plot names, its type, and the inputs that hold it, in ComfyUI's own nodes as in this pack's."""


def settings_of(prompt: Prompt, node: str, name: str) -> dict[str, Any]:
    """Scheduler, cfg and seed of the run whose trace comes into a node's input, as far as the prompt tells them.

    Looked up in the node that samples and in what feeds it with sigmas, guider and noise. A value that comes over a
    link, and one that two sampling nodes differ in, is left out.
    """
    found: dict[str, set[Any]] = {setting: set() for setting in _SETTINGS}
    link = prompt.get(node, {}).get("inputs", {}).get(name)
    for sampling in _sampling_nodes(prompt, str(link[0]) if isinstance(link, list) else ""):
        inputs = dict(prompt[sampling].get("inputs", {}))
        for feeder in ("sigmas", "guider", "noise"):
            inputs = {**_inputs_over(prompt, inputs.get(feeder)), **inputs}
        for setting, (kind, keys) in _SETTINGS.items():
            found[setting] |= {inputs[key] for key in keys if isinstance(inputs.get(key), kind)}
    return {setting: values.pop() for setting, values in found.items() if len(values) == 1}


def _sampling_nodes(prompt: Prompt, sampler: str) -> Iterator[str]:
    """The node that handed a trace out samples itself, or is a SAMPLER for others."""
    users = [
        node for node, data in prompt.items() if (data.get("inputs", {}).get("sampler") or [None])[0] == sampler
    ]  # fmt: skip
    yield from users or ([sampler] if sampler in prompt else [])


def _inputs_over(prompt: Prompt, link: Any) -> Mapping[str, Any]:
    """The inputs of the node that a link comes from."""
    return prompt.get(str(link[0]), {}).get("inputs", {}) if isinstance(link, list) and link else {}
