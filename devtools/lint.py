"""`python dev.py lint`: ruff, and where there is a node pyright, tsc and the tests of js/; what is not translated."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .comfyui import ROOT, comfyui_path
from .setup import read_stamp, say, write_stamp


def main() -> int:
    code = _python("ruff", "check", ".") or _python("ruff", "format", "--check", ".")
    code = code or with_node(Path(sys.executable), comfyui_path())
    # A list of what is left to do, and no failure.
    return code or _python("devtools.make.locales", "--missing")


def _python(module: str, *arguments: str) -> int:
    return subprocess.call([sys.executable, "-m", module, *arguments], cwd=ROOT)


def with_node(python: Path, comfyui: Path) -> int:
    """Check the types of erk/ and nodes/ with pyright and of js/ with tsc, and run the tests of js/, where there is a
    node.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        say("The checks of types and of js/ were skipped: they need node and npm, which were not found.")
        return int(os.environ.get("ERK_GUID_REQUIRE_BROWSER") == "1")
    modules = ROOT / "node_modules"
    lock = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    if read_stamp(modules) != {"lock": lock}:
        say("Installing the type checkers ...")
        code = subprocess.call([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=ROOT, stdout=sys.stderr)
        if code:
            say(
                "npm could not install the type checkers (see above): check the network or npm's proxy settings and "
                "try again."
            )
            return code
        write_stamp(modules, {"lock": lock})
    code = pyright([node, str(modules / "pyright" / "index.js")], python, comfyui)
    code = code or subprocess.call([node, str(modules / "typescript" / "bin" / "tsc"), "--noEmit"], cwd=ROOT)
    tests = sorted(str(path) for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    return code or subprocess.call([node, "--test", "--test-reporter=spec", *tests], cwd=ROOT)


def pyright(command: list[str], python: Path, comfyui: Path) -> int:
    """With pyrightconfig.json, and the ComfyUI that is used."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "pyrightconfig.json")
        config.write_text(
            json.dumps({"extends": str(ROOT / "pyrightconfig.json"), "extraPaths": [str(comfyui)]}), encoding="utf-8"
        )
        return subprocess.call([*command, "--project", str(config), "--pythonpath", str(python)], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
