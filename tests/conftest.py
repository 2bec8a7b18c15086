"""A real ComfyUI server, started once for all tests that need one; and the pack in this process."""

from __future__ import annotations

import pytest

from devtools.comfyui import Server, serve
from devtools.inprocess import load_pack


@pytest.fixture(scope="session")
def server():
    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server: Server):
    return server.get("/object_info")


@pytest.fixture(scope="session")
def pack():
    return load_pack()
