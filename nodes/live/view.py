"""A run as messages to a page.

On a GPU a step costs one small asynchronous copy. The run never waits for it: the values are sent when a later check
finds that they have arrived.
"""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ... import erk

Send = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Origin:
    """Where a run was started.

    prompt    id of the prompt
    node      id of the node that samples, as the page knows it; "7:3" is node 3 in the subgraph node 7
    type      its class
    views     ids of the visualizers that are connected to the run's trace
    workflow  id of the workflow, if the page sent it along
    """

    prompt: str | None
    node: str
    type: str | None = None
    views: tuple[str, ...] = ()
    workflow: str | None = None


class LiveView:
    """Watches one run and sends a message for each of its steps, in order.

    A failure in here ends the view, but not the run. It is logged once.
    """

    def __init__(self, send: Send, origin: Origin) -> None:
        self._send = send
        self._origin = origin
        self._run = uuid.uuid4().hex[:12]
        self._info: erk.RunInfo | None = None
        self._waiting: deque[_OnItsWay] = deque()
        self._buffer: Tensor | None = None
        self._failed = False

    def begin(self, info: erk.RunInfo) -> None:
        self._info = info

    def record(self, step: erk.MeasuredStep) -> None:
        with self._surviving() as works:
            if works:
                self._send_arrived()
                self._waiting.append(self._fetch(step))
                self._send_arrived()

    def poll(self) -> None:
        """Send the steps whose values have arrived."""
        with self._surviving() as works:
            if works:
                self._send_arrived()

    def finish(self) -> None:
        """Send the remaining steps. The run is over, so waiting for the device delays nothing."""
        with self._surviving() as works:
            if works:
                while self._waiting:
                    self._send_first()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[bool]:
        try:
            yield not self._failed
        except Exception as error:
            self._failed = True
            self._waiting.clear()
            warn(f"{type(error).__name__}: {error}")

    def _fetch(self, step: erk.MeasuredStep) -> _OnItsWay:
        """Start copying a step's values to the host, without waiting for them."""
        values = step.values
        backend = getattr(torch, values.device.type, None)
        if values.device.type not in ("cuda", "xpu") or backend is None:
            return _OnItsWay(step, values)
        if self._buffer is None:
            steps = len(self._info.sigmas) - 1 if self._info else 1
            self._buffer = torch.empty((steps, *values.shape), dtype=values.dtype, pin_memory=True)
        host = self._buffer[step.index]
        host.copy_(values, non_blocking=True)
        arrival = backend.Event()
        arrival.record(backend.current_stream(values.device))
        return _OnItsWay(step, host, arrival)

    def _send_arrived(self) -> None:
        while self._waiting and self._waiting[0].has_arrived(newest=len(self._waiting) == 1):
            self._send_first()

    def _send_first(self) -> None:
        on_its_way = self._waiting.popleft()
        step, error = on_its_way.read(), on_its_way.step.run_error()
        if self._info is not None:
            self._send(message(step, self._info, self._origin, self._run, error))


@dataclass(frozen=True)
class _OnItsWay:
    """A step whose values are being copied to the host."""

    step: erk.MeasuredStep
    values: Tensor
    arrival: Any = None

    def has_arrived(self, newest: bool) -> bool:
        if self.arrival is not None:
            return self.arrival.query()
        # On other accelerators, reading waits for the device. So a step is read after the next one has been recorded.
        return self.values.device.type == "cpu" or not newest

    def read(self) -> erk.StepRecord:
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.step.to_record(self.values.tolist())


def message(
    step: erk.StepRecord, info: erk.RunInfo, origin: Origin, run: str, error: Sequence[float] = ()
) -> dict[str, Any]:
    """The message about a step. Its numbers are finite; a value that does not exist is None.

    stiffness, h_stiffness, correction (its share of the step) and believed are medians over the batch. believed is how
    far the step's correction was trusted, 0 to 1. spread and h_spread are the least and the greatest value, if there is
    more than one sample. noise is the RMS of the noise that the step added, noise_ratio its variance over that of the
    plain step's noise, medians too. held counts the samples that were left uncorrected, by reason. error is the
    run's own, over the picture's contrast: the median again, roughly. It is there with the last step of a run that
    fills a trace and can tell.
    """
    told = _median(error)
    return {
        "run": run,
        "prompt_id": origin.prompt,
        "workflow": origin.workflow,
        "node": origin.node,
        "type": origin.type,
        "views": list(origin.views),
        "solver": info.solver,
        "title": info.title,
        "mode": info.mode,
        "settings": erk.json_safe(dict(info.settings)),
        "step": step.index,
        "steps": len(info.sigmas) - 1,
        "sigma": erk.json_safe(step.sigma),
        "sigma_next": erk.json_safe(step.sigma_next),
        "stiffness": _median(step.stiffness),
        "spread": _spread(step.stiffness),
        "h_stiffness": _median(step.h_stiffness),
        "h_spread": _spread(step.h_stiffness),
        "correction": _median(step.correction),
        "active": any(step.active),
        "believed": _median(step.believed),
        "noise": _median(step.noise),
        "noise_ratio": _median(step.noise_ratio),
        "held": dict(Counter(reason for reason in step.held if reason)),
        **({} if told is None else {"error": float(f"{told:.3g}")}),
    }


def _median(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return statistics.median(known) if known else None


def _spread(values: list[float]) -> list[float] | None:
    known = [value for value in values if math.isfinite(value)]
    return [min(known), max(known)] if known and len(values) > 1 else None


@cache
def warn(what: str) -> None:
    logging.warning("ERK-Guid: the live chart failed and will not be updated; the sampling goes on. %s", what)
