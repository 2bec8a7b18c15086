"""A real ComfyUI server, started once for all tests that need it, and the pack in this process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Imports that need ComfyUI are made where they are used, because the tests of erk do not need it.


@pytest.fixture(scope="session")
def server():
    from devtools.comfyui import serve

    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def model_server():
    """A server with the tests' own nodes (tests/support/probe_nodes). Tests write their tiny models into its folder."""
    from devtools.comfyui import serve

    probe = Path(__file__).parent / "support" / "probe_nodes"
    ignored = shutil.ignore_patterns("__pycache__")
    with serve(
        prepare=lambda base: shutil.copytree(probe, base / "custom_nodes" / probe.name, ignore=ignored)
    ) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")


@pytest.fixture(scope="session")
def pack():
    from devtools.inprocess import load_pack

    return load_pack()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: minutes, or hundreds of megabytes; runs with ERK_GUID_LONG=1")


def pytest_collection_modifyitems(items):
    if os.environ.get("ERK_GUID_LONG") != "1":
        skip = pytest.mark.skip(reason="long: set ERK_GUID_LONG=1")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)
