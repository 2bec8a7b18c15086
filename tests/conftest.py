"""A real ComfyUI server, started once for all tests that need it, and the pack in this process."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

NEWER_PAGE = ("1.58.1", "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9")
"""Version and checksum of ComfyUI's newest page. The pinned ComfyUI brings an older one."""

# Imports that need ComfyUI are made where they are used, because the tests of erk do not need it.


@pytest.fixture(scope="session")
def server():
    from devtools.comfyui import serve

    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def newer_page_server(tmp_path_factory):
    """The same with ComfyUI's newest page."""
    from bench.instruments.packages import Package
    from devtools.comfyui import serve

    page = Package("comfyui_frontend_package", *NEWER_PAGE)
    folder = tmp_path_factory.mktemp("page")
    with zipfile.ZipFile(page.wheel()) as wheel:
        wheel.extractall(folder)
    with serve(options=["--front-end-root", str(folder / page.name / "static")]) as running:
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
    config.addinivalue_line(
        "markers", "both_pages: runs on ComfyUI's newest page, too; the others do with the long ones"
    )


def pytest_collection_modifyitems(items):
    if os.environ.get("ERK_GUID_LONG") != "1":
        skip = pytest.mark.skip(reason="long: set ERK_GUID_LONG=1")
        for item in items:
            on_newer_page = "[newer-" in item.name and "both_pages" not in item.keywords
            if "long" in item.keywords or on_newer_page:
                item.add_marker(skip)
