"""The texts in locales/: what the page needs, and the English texts, which come from the nodes, the chart and the plot.

`python -m devtools.make.locales` writes locales/en from a running ComfyUI and from the sources. With `--missing` it
lists the texts that are not translated in the other languages. The page shows those in English.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..comfyui import ROOT, serve

LANGUAGES = ("en", "zh", "zh-TW", "ja", "ko", "fr")
"""Of those that ComfyUI's page offers."""

FILES = ("nodeDefs", "settings", "main")


def key(name: str) -> str:
    """A name as the page looks it up. Dots would mean levels."""
    return name.replace(".", "_")


def english(object_info: dict[str, Any], nodes: list[str]) -> dict[str, Any]:
    """The nodes' own texts in the form of nodeDefs.json.

    An output that is named after its type has no name here, because the page translates types itself.
    """
    return {key(node): _node(object_info[node]) for node in nodes}


def _node(info: dict[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for group in ("required", "optional"):
        for name, spec in info["input"].get(group, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            inputs[key(name)] = {"name": options.get("display_name") or name, "tooltip": options["tooltip"]}
    outputs = {
        str(index): {**({} if name == kind else {"name": name}), "tooltip": tooltip}
        for index, (kind, name, tooltip) in enumerate(
            zip(info["output"], info["output_name"], info["output_tooltips"], strict=True)
        )
    }
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


TOLD = "erkGuid"
"""Where main.json has the texts of chart and plot."""


def told() -> list[str]:
    """The texts that chart and plot tell, in English: what stands in tell(...) and translatable(...)."""
    texts: set[str] = set()
    for path in sorted((ROOT / "js").rglob("*.js")):
        found = re.findall(r'\b(?:tell|translatable)\(\s*("(?:[^"\\]|\\.)*")', path.read_text(encoding="utf-8"))
        texts |= {json.loads(text) for text in found}
    for folder in ("traces", "convergence"):
        for path in sorted((ROOT / "nodes" / folder).glob("*.py")):
            texts |= set(_told_in(path))
    return sorted(texts)


def _told_in(path: Path) -> Iterator[str]:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in ("tell", "translatable"):
            continue
        for text in call.args[:1]:
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def ours(object_info: dict[str, Any]) -> list[str]:
    return [name for name, info in object_info.items() if info["python_module"] == "custom_nodes.ComfyUI-ERK-Guid"]


def missing(language: str) -> list[str]:
    """Texts that exist in English but not in this language, as file/node/..."""

    def paths(data: Any, path: str) -> Iterator[str]:
        if not isinstance(data, dict):
            yield path
            return
        for name, value in data.items():
            yield from paths(value, f"{path}/{name}")

    def all_of(language: str) -> list[str]:
        files = {name: ROOT / "locales" / language / f"{name}.json" for name in FILES}
        return [
            path for name, file in files.items() for path in paths(json.loads(file.read_text(encoding="utf-8")), name)
        ]

    known = set(all_of(language))
    return [path for path in all_of("en") if path not in known]


def main() -> None:
    if "--missing" in sys.argv:
        for language in LANGUAGES:
            for path in missing(language):
                print(f"{language}: {path} is not translated")
        return
    with serve() as server:
        object_info = server.get("/object_info")
    _write("nodeDefs", english(object_info, ours(object_info)))
    main_texts = json.loads((ROOT / "locales" / "en" / "main.json").read_text(encoding="utf-8"))
    _write("main", {**main_texts, TOLD: {text: text for text in told()}})


def _write(name: str, texts: dict[str, Any]) -> None:
    path = ROOT / "locales" / "en" / f"{name}.json"
    path.write_text(json.dumps(texts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
