"""Which node handed a trace out: a trace itself knows nothing of ComfyUI."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ... import erk

_SOURCES: WeakKeyDictionary[erk.Trace, str] = WeakKeyDictionary()


def trace_of(node: str | None) -> erk.Trace:
    """A new trace, handed out by that node."""
    trace = erk.Trace()
    if node is not None:
        _SOURCES[trace] = node
    return trace


def source_of(trace: erk.Trace | None) -> str | None:
    """Id of the node that handed it out; None where nobody told."""
    return None if trace is None else _SOURCES.get(trace)
