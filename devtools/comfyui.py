"""Starts a real ComfyUI server with the pack installed, and talks to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "ComfyUI-ERK-Guid"
PACK = (
    "__init__.py", "erk", "nodes", "js", "locales", "examples_workflows",
    "requirements.txt", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md",
)  # fmt: skip
"""The parts of this checkout that are the pack. The rest is for developers."""


class ComfyUIError(Exception):
    """The server or a prompt failed. The text says how."""


def comfyui_path() -> Path:
    path = os.environ.get("COMFYUI_PATH")
    if not path or not (Path(path) / "main.py").is_file():
        raise ComfyUIError(f"COMFYUI_PATH is {path!r}, where no ComfyUI is: run this through dev.py, which sets it.")
    return Path(path)


def install_pack(custom_nodes: Path) -> Path:
    """Copy the pack as an installation would, under its usual folder name."""
    target = custom_nodes / FOLDER
    target.mkdir(parents=True)
    for name in PACK:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def needs_cpu_flag() -> bool:
    """Whether ComfyUI needs its flag for machines without an accelerator. Without it, CUDA's initialisation fails."""
    import torch

    return not (torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running ComfyUI. Use :func:`serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, base: Path) -> None:
        self.process = process
        self.address = f"http://127.0.0.1:{port}"
        self.base = base
        self.log: list[str] = []
        self.on_line: Callable[[str], None] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log = [*self.log[-999:], line.rstrip("\n")]
            if self.on_line is not None:
                self.on_line(line.rstrip("\n"))

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log[-lines:])

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return json.load(answer)

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, data: Any) -> tuple[int, Any]:
        """Returns the HTTP status and the JSON answer, errors included."""
        request = urllib.request.Request(
            self.address + path, json.dumps(data).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read(), error.code
        return status, json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any], client_id: str | None = None) -> str:
        """Queue a prompt in API format. Returns its id.

        Raises ComfyUIError if the prompt, or one of its outputs, is refused.
        """
        status, answer = self.post("/prompt", {"prompt": prompt, "client_id": client_id or uuid.uuid4().hex})
        # ComfyUI runs the valid part of a prompt and leaves the rest out.
        if status != 200 or answer.get("node_errors"):
            raise ComfyUIError(f"ComfyUI refused the prompt ({status}): {json.dumps(answer)[:2000]}")
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> dict[str, Any]:
        """The history entry of a finished prompt, failed ones included."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history and history[prompt_id]["status"]["status_str"] in ("success", "error"):
                return history[prompt_id]
            if self.process.poll() is not None:
                raise ComfyUIError(f"ComfyUI ended while it was sampling:\n{self.tail()}")
            time.sleep(0.1)
        raise ComfyUIError(f"ComfyUI did not finish within {timeout:.0f} s:\n{self.tail()}")

    def run(self, prompt: dict[str, Any], timeout: float = 300) -> dict[str, Any]:
        """Queue, wait, and return the outputs by node id. Raises ComfyUIError with the node's message."""
        entry = self.wait(self.queue(prompt), timeout)
        if entry["status"]["status_str"] != "success":
            raise ComfyUIError(error_message(entry))
        return entry["outputs"]

    def image(self, reference: dict[str, str]) -> bytes:
        """The file of an output's {"filename", "subfolder", "type"}."""
        return self.fetch("/view?" + urllib.parse.urlencode(reference))


def error_message(entry: dict[str, Any]) -> str:
    for name, data in entry["status"]["messages"]:
        if name == "execution_error":
            return f"{data['node_type']}: {data['exception_type']}: {data['exception_message'].strip()}"
    return json.dumps(entry["status"])[:2000]


@contextlib.contextmanager
def serve(
    port: int = 0, start_timeout: float = 180, prepare: Callable[[Path], None] | None = None, *,
    base: Path | None = None, python: Path | None = None, options: Sequence[str] = (),
) -> Iterator[Server]:  # fmt: skip
    """A ComfyUI on 127.0.0.1 with the pack, in its own folder. Both are removed at the end of the block.

    prepare  called with that folder before the start, to add models or more nodes
    base     a folder with its own custom_nodes; what is installed there is used, and the folder is kept
    python   an interpreter to use instead of the running one
    options  more of ComfyUI's command line
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="erk-guid-", ignore_cleanup_errors=True) as scratch:
        if base is None:
            base = Path(scratch)
            install_pack(base / "custom_nodes")
        if prepare is not None:
            prepare(base)
        command = [
            str(python or sys.executable), str(comfyui_path() / "main.py"), "--listen", "127.0.0.1", "--port",
            str(port),
            "--base-directory", str(base), "--disable-api-nodes", "--disable-auto-launch",
            "--database-url", "sqlite:///:memory:", "--preview-method", "auto", *options,
        ]  # fmt: skip
        if needs_cpu_flag():
            command.append("--cpu")
        # The server gets its own session. So Ctrl-C reaches only this process, which then ends the server properly.
        apart: dict[str, Any] = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        )
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, encoding="utf-8", errors="replace", env={**os.environ, "PYTHONUNBUFFERED": "1"}, **apart,
        )  # fmt: skip
        server = Server(process, port, base)
        try:
            _await_start(server, start_timeout)
            yield server
        finally:
            end(process)


def _await_start(server: Server, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise ComfyUIError(f"ComfyUI did not start:\n{server.tail()}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            server.get("/system_stats")
            return
        time.sleep(0.2)
    raise ComfyUIError(f"ComfyUI did not answer within {timeout:.0f} s:\n{server.tail()}")


def end(process: subprocess.Popen[str]) -> None:
    """End a server and all processes that it started."""
    if os.name == "nt":
        process.terminate()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that the server ends too."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
