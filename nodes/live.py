"""The live view's server side: tells the browser of each step that an erk_* sampler makes, in any node.

One message a step, of type "erk_guid.step", to the page that queued the prompt; none, and no work for it,
where that page is gone or has turned the chart off. On a GPU a step costs one small asynchronous copy:
its values are sent when they have arrived, which is looked up now and then and never waited for.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import statistics
import sys
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import erk

EVENT = "erk_guid.step"
ROUTE = "/erk_guid/live"
SHOW = ("all", "erk", "off")
"""On which nodes a page wants the chart: on all, on ERK-Guid's own, on none."""

_VISUALIZER = "StiffnessVisualizerERKGuid"
_TRACE_OUTPUT = 1
"""Place of the trace among the outputs of every node that has one."""

Send = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Origin:
    """Where a run takes place.

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

    A failure in here ends the view and not the run; the log tells it once.
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
        """Send what has arrived since."""
        with self._surviving() as works:
            if works:
                self._send_arrived()

    def finish(self) -> None:
        """Send the rest: the run is over, and nothing is left to hold up."""
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
            _warn(f"{type(error).__name__}: {error}")

    def _fetch(self, step: erk.MeasuredStep) -> _OnItsWay:
        """Ask for a step's values on the host, without waiting for them."""
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
        step = self._waiting.popleft().read()
        if self._info is not None:
            self._send(message(step, self._info, self._origin, self._run))


@dataclass(frozen=True)
class _OnItsWay:
    """A step whose values are being copied to the host."""

    step: erk.MeasuredStep
    values: Tensor
    arrival: Any = None

    def has_arrived(self, newest: bool) -> bool:
        if self.arrival is not None:
            return self.arrival.query()
        # On other accelerators reading waits for the device, so a step is read when the next one is under way.
        return self.values.device.type == "cpu" or not newest

    def read(self) -> erk.StepRecord:
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.step.to_record(self.values.tolist())


def message(step: erk.StepRecord, info: erk.RunInfo, origin: Origin, run: str) -> dict[str, Any]:
    """What the page is told of a step. Numbers are finite; None stands where there is none.

    stiffness and believed (how far the step's correction is believed, 0 to 1) are the medians over the batch, spread the
    least and greatest stiffness where there is more than one sample. held counts the samples left plain, by reason.
    """
    believed = [value for value in step.believed if math.isfinite(value)]
    known = sorted(value for value in step.stiffness if math.isfinite(value))
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
        "settings": {name: _finite(value) for name, value in info.settings.items()},
        "step": step.index,
        "steps": len(info.sigmas) - 1,
        "sigma": _finite(step.sigma),
        "sigma_next": _finite(step.sigma_next),
        "stiffness": statistics.median(known) if known else None,
        "spread": [known[0], known[-1]] if known and len(step.stiffness) > 1 else None,
        "active": any(step.active),
        "believed": statistics.median(believed) if believed else None,
        "held": dict(Counter(reason for reason in step.held if reason)),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@contextlib.contextmanager
def watching(trace: erk.Trace | None) -> Iterator[LiveView | None]:
    """A view of the run made in this block, or None where no page is there to see it."""
    view = None
    try:
        view = _connect(trace)
    except Exception as error:
        _warn(f"{type(error).__name__}: {error}")
    try:
        yield view
    except BaseException:
        # Interrupted, or failed: what has arrived is told; a device that may be out of order is not waited for.
        if view is not None:
            view.poll()
        raise
    if view is not None:
        view.finish()


def _connect(trace: erk.Trace | None) -> LiveView | None:
    server = _server()
    client = getattr(server, "client_id", None)
    if client is None or client not in server.sockets:
        return None
    show = _metadata(server, client).get(ROUTE, SHOW[0])
    if show == "off":
        return None
    origin = _origin(server, trace)
    if origin is None or (show == "erk" and not origin.views and not str(origin.type).endswith("ERKGuid")):
        return None
    return LiveView(lambda data: server.send_sync(EVENT, data, client), origin)


def _server() -> Any:
    """ComfyUI's server, or None in a script or a test that has none."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def _metadata(server: Any, client: str) -> dict[str, Any]:
    """What is noted of a connected page; it goes when the page goes."""
    return getattr(server, "sockets_metadata", {}).get(client, {})


def _origin(server: Any, trace: erk.Trace | None) -> Origin | None:
    from comfy_execution.progress import get_progress_state
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    # A pack that samples in a thread of its own loses the context; the server still knows its node.
    node = context.node_id if context is not None else server.last_node_id
    if node is None:
        return None
    prompt = context.prompt_id if context is not None else getattr(server, "last_prompt_id", None)
    graph = get_progress_state().dynprompt
    source = trace.source if trace is not None and trace.source is not None else node
    views = tuple(
        str(other)
        for other in graph.all_node_ids()
        if graph.get_node(other)["class_type"] == _VISUALIZER and [source, _TRACE_OUTPUT] in graph.get_node(other)["inputs"].values()
    )
    shown = graph.get_display_node_id(node)
    return Origin(prompt, str(shown), graph.get_node(shown)["class_type"], views, _workflow(server, prompt))


def _workflow(server: Any, prompt: str | None) -> str | None:
    """Id of the workflow that a running prompt was made from: its page may show another one by now."""
    with contextlib.suppress(Exception):
        for _, prompt_id, _, extra_data, *_ in server.prompt_queue.currently_running.values():
            if prompt_id == prompt:
                return str(extra_data["extra_pnginfo"]["workflow"]["id"])
    return None


def register() -> None:
    """Let pages say on which nodes they want the chart: POST {"client_id": ..., "show": "all" | "erk" | "off"}.

    Where that cannot be set up, the setting stays without effect; the pack loads all the same.
    """
    server = _server()
    if server is None:
        return
    try:
        _add_route(server)
    except Exception as error:
        logging.warning("ERK-Guid: the live chart's setting has no effect here. %s: %s", type(error).__name__, error)


def _add_route(server: Any) -> None:
    if any(getattr(route, "path", None) == ROUTE for route in server.routes):
        return
    from aiohttp import web

    async def choose(request: web.Request) -> web.Response:
        try:
            data = await request.json()
            client, show = data["client_id"], data["show"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return web.json_response({"error": 'ERK-Guid: send {"client_id": ..., "show": ...}.'}, status=400)
        if show not in SHOW:
            return web.json_response({"error": f"ERK-Guid: show is {show!r}, but must be one of {', '.join(SHOW)}."}, status=400)
        known = isinstance(client, str) and client in server.sockets
        if known:
            _metadata(server, client)[ROUTE] = show
        return web.json_response({"connected": known})

    server.routes.post(ROUTE)(choose)


@cache
def _warn(what: str) -> None:
    logging.warning("ERK-Guid: the live chart failed and stays as it is; the sampling goes on. %s", what)
