"""The page's side: which page shows a run, on which node of its graph, and whether it wants the chart."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from ... import erk
from ..traces.source import source_of
from .view import LiveView, Origin, warn

EVENT = "erk_guid.step"
ROUTE = "/erk_guid/live"
SHOW = ("all", "erk", "off")
"""On which nodes a page wants the chart: all, only ERK-Guid's own, or none."""
_ENGLISH = "en"

_VISUALIZER = "StiffnessVisualizerERKGuid"
_CHARTLESS = "ConvergenceTestERKGuid"
"""Makes many runs, and shows what they come to."""

PLANNER = "ScheduleFromTraceERKGuid"
_TRACE_OUTPUT = 1
"""Index of the trace output, the same in every node that has one."""


@contextlib.contextmanager
def watching(trace: erk.Trace | None) -> Iterator[LiveView | None]:
    """A view of the run made in this block, or None if no page shows it."""
    view = None
    try:
        view = _connect(trace)
    except Exception as error:
        warn(f"{type(error).__name__}: {error}")
    try:
        yield view
    except BaseException:
        # The run was interrupted or has failed. Send what has arrived, but do not wait for a device that may be broken.
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
    show = _wishes(server, client)["show"]
    if show == "off":
        return None
    origin = _origin(server, trace)
    if (
        origin is None
        or origin.type == _CHARTLESS
        or (show == "erk" and not origin.views and not str(origin.type).endswith("ERKGuid"))
    ):
        return None
    return LiveView(lambda data: server.send_sync(EVENT, data, client), origin)


def _server() -> Any:
    """ComfyUI's server, or None in a script or a test that has none."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def _metadata(server: Any, client: str) -> dict[str, Any]:
    """The notes about a connected page. They are removed when the page disconnects."""
    return getattr(server, "sockets_metadata", {}).get(client, {})


def _wishes(server: Any, client: str) -> dict[str, str]:
    return {"show": SHOW[0], "language": _ENGLISH, **_metadata(server, client).get(ROUTE, {})}


def language_of_page() -> str:
    """The language of the page that queued what runs, as the page calls it; English where there is no page."""
    server = _server()
    client = getattr(server, "client_id", None)
    return _ENGLISH if client is None else _wishes(server, client)["language"]


def _origin(server: Any, trace: erk.Trace | None) -> Origin | None:
    from comfy_execution.progress import get_progress_state
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    # A pack that samples in its own thread loses the context, but the server still knows its node.
    node = context.node_id if context is not None else server.last_node_id
    if node is None:
        return None
    prompt = context.prompt_id if context is not None else getattr(server, "last_prompt_id", None)
    graph = get_progress_state().dynprompt
    views = connected(graph, _VISUALIZER, source_of(trace) or node)
    shown = graph.get_display_node_id(node)
    return Origin(prompt, str(shown), graph.get_node(shown)["class_type"], views, _workflow(server, prompt))


def connected(graph: Any, kind: str, source: str) -> tuple[str, ...]:
    """Ids of the nodes of that class whose inputs take the trace of the node ``source``."""
    return tuple(
        str(other)
        for other in graph.all_node_ids()
        if graph.get_node(other)["class_type"] == kind
        and [source, _TRACE_OUTPUT] in graph.get_node(other)["inputs"].values()
    )


def is_planned_from(trace: erk.Trace | None) -> bool:
    """Whether a planning node takes the trace of the run that is about to begin. False where nobody can tell."""
    if trace is None:
        return False
    try:
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        node = source_of(trace) or (context.node_id if context is not None else None)
        return node is not None and bool(connected(get_progress_state().dynprompt, PLANNER, node))
    except Exception as error:  # a script without a graph, or a ComfyUI that keeps it elsewhere
        logging.debug("ERK-Guid: no graph to look for a planning node in (%s).", error)
        return False


def _workflow(server: Any, prompt: str | None) -> str | None:
    """Id of the workflow that a running prompt was made from. Its page may show another workflow by now."""
    with contextlib.suppress(Exception):
        for _, prompt_id, _, extra_data, *_ in server.prompt_queue.currently_running.values():
            if prompt_id == prompt:
                return str(extra_data["extra_pnginfo"]["workflow"]["id"])
    return None


def register() -> None:
    """Let pages choose on which nodes they want the chart, and the language of the plot: POST
    {"client_id": ..., "show": "all" | "erk" | "off", "language": "fr"}. The language may be missing.

    If this cannot be set up, the setting has no effect, but the pack still loads.
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
            client, show, language = data["client_id"], data["show"], str(data.get("language", _ENGLISH))
        except (json.JSONDecodeError, KeyError, TypeError):
            return web.json_response({"error": 'ERK-Guid: send {"client_id": ..., "show": ...}.'}, status=400)
        if show not in SHOW:
            return web.json_response(
                {"error": f"ERK-Guid: show is {show!r}, but must be one of {', '.join(SHOW)}."}, status=400
            )
        known = isinstance(client, str) and client in server.sockets
        if known:
            _metadata(server, client)[ROUTE] = {"show": show, "language": language}
        return web.json_response({"connected": known})

    server.routes.post(ROUTE)(choose)
