"""What a measurement was made with. It is written next to the rows, and the pages show it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from devtools.inprocess import load_comfyui

from .packages import Package

RESULTS = Path(__file__).parents[1] / "results"
"""Results are written to this folder, and committed."""


def record(path: Path, command: str, packages: Iterable[Package] = (), **told: float) -> None:
    """Write the command and the versions to a JSON file, including packages that only this benchmark reads.

    told  numbers that the page shows and no row has
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    used = {**versions(), **{package.name: package.version for package in packages}}
    path.write_text(json.dumps({"command": command, "versions": used, **told}, indent=2) + "\n")


def told(path: Path, name: str) -> float:
    """A number of the record. Raises SystemExit if it was not recorded."""
    made = json.loads(path.read_text())
    if name not in made:
        raise SystemExit(f"{path} does not have {name}: measure again before writing the page.")
    return made[name]


def versions() -> dict[str, str]:
    """Versions that results may depend on."""
    load_comfyui()
    import comfyui_version

    return {
        "ComfyUI": comfyui_version.__version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
    }


def sentence(path: Path) -> str:
    """The record as a line of Markdown, or an empty text if there is no record."""
    if not path.exists():
        return ""
    made = json.loads(path.read_text())
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return f"Made by `{made['command']}` with {versions}."
