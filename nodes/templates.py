"""The pack's workflows in ComfyUI's Browse Templates.

ComfyUI itself only looks in folders with certain names, and `examples_workflows` is not one of them. So a
middleware adds our templates to ComfyUI's list, and a route serves the files where the page requests them.

The page shows the list in its order, and a template's name as its title. So the list has titles in words, from easy to
hard, as titles.txt has them, and the route knows which file a title means.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

PACK = Path(__file__).parent.parent
"""Links are not resolved: the folder in custom_nodes may be a link, and the page uses the link's name."""

_LISTINGS = ("/workflow_templates", "/api/workflow_templates")
_MARK = "erk_guid_templates"


def register_templates(pack: Path = PACK) -> bool:
    """Offer the workflows in `pack`; True if the server now has them.

    Without a server (if a script has imported the pack) this does nothing. It never raises an error: after a failure,
    only the templates are missing.
    """
    server = sys.modules.get("server")  # not imported here, because a running ComfyUI has already imported it
    if server is None:
        return False
    try:
        _register(server.PromptServer.instance.app, pack)
    except Exception as error:
        logging.warning(
            "ERK-Guid: the example workflows are not in Browse Templates (%s: %s); open them from %s.",
            type(error).__name__, error, pack / "examples_workflows",
        )  # fmt: skip
        return False
    return True


def _register(app: Any, pack: Path) -> None:
    from aiohttp import web

    # The mark is kept in the server's own object, because a pack imported twice has two copies of this module.
    if any(getattr(middleware, _MARK, None) == pack.name for middleware in app.middlewares):
        return
    folder = pack / "examples_workflows"
    titles = dict(line.split(": ", 1) for line in (folder / "titles.txt").read_text(encoding="utf-8").splitlines())
    files = {path.name: path for path in folder.iterdir() if path.stem in titles}
    files |= {f"{titles[path.stem]}{path.suffix}": path for path in files.values()}
    failed = False

    @web.middleware
    async def add_templates(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal failed
        response = await handler(request)
        if request.path not in _LISTINGS or request.method != "GET" or response.status != 200:
            return response
        try:
            listing = json.loads(response.body)
            known = listing.setdefault(pack.name, [])
            known += [title for title in titles.values() if title not in known]
            return web.json_response(listing)
        except Exception as error:
            if not failed:
                logging.warning("ERK-Guid: could not add the example workflows to the list of templates (%s).", error)
            failed = True
            return response

    async def file_of(request: web.Request) -> web.StreamResponse:
        path = files.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path)

    setattr(add_templates, _MARK, pack.name)
    # The files come first, because a template that is listed but not served would be worse than none.
    app.add_routes([web.get(f"/api/workflow_templates/{pack.name}/{{name}}", file_of)])
    app.middlewares.append(add_templates)
