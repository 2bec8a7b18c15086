"""Makes docs/compatibility.md from what the tests saw in a real ComfyUI: `python -m devtools.make.compatibility`.

The tests of kinds of model, guidances and sampling situations report here what ran (:func:`tell`). With
ERK_GUID_RECORD=1 the reports are written to docs/compatibility.json. Otherwise they must equal what is there already,
so the page cannot claim anything that no test has seen.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ..comfyui import ROOT

RECORD, PAGE = ROOT / "docs" / "compatibility.json", ROOT / "docs" / "compatibility.md"

INTRODUCTION = """\
# What has been tested

`python -m devtools.make.compatibility` made this page from what the tests recorded (`ERK_GUID_RECORD=1
ERK_GUID_LONG=1 python dev.py test tests/server`). The tests fail if this page claims more than they see.

Every line was run over HTTP in a ComfyUI {version} server, on a CPU in float32. The models are real architectures
with random weights. They were made small, and ComfyUI's stock loaders load them. So the lines show that a kind of
model can be sampled, but not how good its pictures are.
"""

SECTIONS = {
    "architectures": (
        "Kinds of model",
        "The following holds with each solver and mode. The run succeeds. The latent is finite, has the right shape "
        "and is not the noise that went in. Mode `off` equals ComfyUI's own solver (no number is further away than "
        "0.2 % of the latent's scale), and the guided modes do not. The sampler and the network are called exactly as "
        "often as with ComfyUI's own solver. ComfyUI has no `abm`, so its calls are compared with those of ComfyUI's "
        "`deis`, which also makes one call per step. Mode `off` of `abm` must differ from `deis`, and the guided modes "
        "of `abm` must differ from its `off`. `UNETLoader` is the node Load Diffusion Model. Z-Image, Lumina 2, "
        "ACE-Step, AuraFlow, Chroma and HiDream are missing only because of their size: ComfyUI's loaders fix their "
        "width, so that even one block needs gigabytes. On Z-Image only the templates' solvers were run.",
        ("model", "prediction", "latent", "loader", "solvers", "modes", "note"),
    ),
    "sampling": (
        "Prediction types, by ComfyUI's ModelSampling nodes",
        "On the small Stable Diffusion 1.5 (Stable Diffusion 3 for the flow nodes), with the same checks.",
        ("node", "setting", "solvers", "modes"),
    ),
    "guidance": (
        "With other guidance",
        "The run succeeds and its result is finite. Mode `off` equals ComfyUI's own solver, and each guided mode "
        "differs from it (`abm`: as above). Whether the error falls is another question. It has been [measured on "
        "exact problems](../bench/results/COMBINATIONS.md).",
        ("guidance", "model", "solvers", "modes", "note"),
    ),
    "situations": (
        "Sampling situations",
        "The last column says what was checked, in the tests' words. What it says about ComfyUI's own solvers is meant "
        "for `abm` as explained above.",
        ("situation", "model", "solvers", "modes", "seen"),
    ),
    "inside": (
        "Inside other nodes",
        "Nodes that sample by themselves, or that come between the sampler and its model. Where a row names another "
        "pack's node, a stand-in in the tests makes its call, as far as a sampler can see it. The demo model's "
        "denoiser is exact, so each case has a converged picture: the same graph, with each step cut into many. As "
        "near as `off` means: with each solver, over three noises, at 8 and at 16 model calls and CFG 1, the error of "
        "`calibrated` is at most 1.05 times that of `off`. Mode `off` equals ComfyUI's own solver.",
        ("situation", "call", "model", "solvers", "seen"),
    ),
}
"""Key: title, text, columns."""


def tell(section: str, key: str, row: dict[str, Any]) -> None:
    """Record a row, or check that the record claims no more than was seen. Raises AssertionError if it does.

    The short selection of tests may run fewer solvers than are recorded, and it records nothing. A solver or a mode
    that is newer than the record is missing there.
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
    if recorded is not None and set(recorded["modes"]) <= set(row["modes"]):
        row["modes"] = recorded["modes"]
    assert recorded == row, (
        f"docs/compatibility.json says {recorded} about {section}/{key}, but {row} was seen: record and render it "
        "again."
    )


def load() -> dict[str, Any]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def _versions() -> dict[str, str]:
    from ..inprocess import load_comfyui

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
