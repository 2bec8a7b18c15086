"""Which node created a trace. A trace itself knows nothing about ComfyUI."""

from __future__ import annotations

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
