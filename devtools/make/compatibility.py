"""The page docs/compatibility.md, from what the tests saw in a real ComfyUI: `python -m devtools.make.compatibility`.

The tests of kinds of model, guidances and sampling situations tell here what ran (:func:`tell`). With
ERK_GUID_RECORD=1 that is written to docs/compatibility.json; otherwise it must be what stands there already, so the
page cannot claim what no test has seen.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ..comfyui import ROOT

RECORD, PAGE = ROOT / "docs" / "compatibility.json", ROOT / "docs" / "compatibility.md"

INTRODUCTION = """\
# What runs, as the tests saw it

Made by `python -m devtools.make.compatibility` from what the tests recorded (`ERK_GUID_RECORD=1 ERK_GUID_LONG=1
python dev.py test tests/server`); they fail where this page says more than they see.

Every line was run over HTTP in a ComfyUI {version} server, on a CPU in float32. The models are real architectures
with random weights, made small and loaded by ComfyUI's stock loaders: the lines show that a kind of model can be
sampled, not how good its pictures are.
"""

SECTIONS = {
    "architectures": (
        "Kinds of model",
        "With each solver and mode: the run succeeds; the latent is finite, has the right shape and is not the noise "
        "that went in; mode `off` equals ComfyUI's own solver (no number further away than 0.2 % of the latent's "
        "scale), the guided modes do not; and the sampler and the network are called exactly as often as with "
        "ComfyUI's own. ComfyUI has no `abm`: its calls are compared "
        "with those of ComfyUI's `deis`, which makes one a step as well; its mode `off` must differ from that, and its "
        "guided modes from its `off`. `UNETLoader` is the node Load Diffusion Model. Missing for their size alone: "
        "Qwen-Image, Z-Image, Lumina 2, ACE-Step, AuraFlow, Chroma and HiDream, whose width ComfyUI's loaders fix, so "
        "that even one block takes hundreds of megabytes.",
        ("model", "prediction", "latent", "loader", "solvers", "modes", "note"),
    ),
    "sampling": (
        "Prediction types, by ComfyUI's ModelSampling nodes",
        "On the small Stable Diffusion 1.5 (Stable Diffusion 3 for the flow nodes), with the same checks.",
        ("node", "setting", "solvers", "modes"),
    ),
    "guidance": (
        "With other guidance",
        "The run succeeds and is finite, mode `off` equals ComfyUI's own solver, and each guided mode differs from it "
        "(`abm`: as above). Whether the error falls is another question, [measured on exact "
        "problems](../bench/results/COMBINATIONS.md).",
        ("guidance", "model", "solvers", "modes", "note"),
    ),
    "situations": (
        "Sampling situations",
        "What was checked, in the tests' words. What is said of ComfyUI's own solvers holds for `abm` in the sense "
        "above.",
        ("situation", "model", "solvers", "modes", "seen"),
    ),
}
"""Key: title, text, columns."""


def tell(section: str, key: str, row: dict[str, Any]) -> None:
    """Record a row, or check that no more is recorded than was seen. Raises AssertionError if it is.

    The short selection of tests may run fewer solvers than are recorded, and records nothing. A solver that is newer
    than the record is missing there.
    """
    row, long = json.loads(json.dumps(row)), os.environ.get("ERK_GUID_LONG") == "1"
    if os.environ.get("ERK_GUID_RECORD") == "1":
        assert long, "set ERK_GUID_LONG=1 too: the short selection leaves out solvers"
        data = load()
        data["versions"] = _versions()
        data.setdefault("rows", {}).setdefault(section, {})[key] = row
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(data, indent=1) + "\n")
        return
    recorded = load().get("rows", {}).get(section, {}).get(key)
    if recorded is not None and (not long or set(recorded["solvers"]) <= set(row["solvers"])):
        row["solvers"] = recorded["solvers"]
    assert recorded == row, (
        f"docs/compatibility.json says {recorded} of {section}/{key}, but {row} was seen: record and render it anew."
    )


def load() -> dict[str, Any]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def _versions() -> dict[str, str]:
    from .inprocess import load_comfyui

    load_comfyui()
    import comfyui_version

    return {"ComfyUI": comfyui_version.__version__}


def render(data: dict[str, Any]) -> str:
    """The page's text."""
    parts = [INTRODUCTION.format(version=data["versions"]["ComfyUI"])]
    for key, (title, text, columns) in SECTIONS.items():
        rows = data["rows"].get(key, {})
        if not rows:
            continue
        parts.append(f"## {title}\n\n{text}\n")
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows.values()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(_cell, value))
    return str(value).replace("|", "\\|")


def main() -> int:
    if not RECORD.exists():
        print("There is no record: run the tests with ERK_GUID_RECORD=1 first.", file=sys.stderr)
        return 1
    PAGE.write_text(render(load()))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
