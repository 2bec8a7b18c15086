"""Traces and their plot as files, always inside ComfyUI's output folder."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io as comfy_io
from comfy_api.latest import ui

from ... import erk
from .runs import TracedRun, as_json

FORMATS = {
    "none": (), "CSV": (".csv",), "JSON": (".json",), "both": (".csv", ".json"), "PNG": (".png",), "SVG": (".svg",),
    "all": (".csv", ".json", ".png", ".svg"),
}  # fmt: skip
"""The choices of `save`, and the files that each writes."""

DEFAULT_PREFIX = "erk_guid/stiffness"

_FORBIDDEN = frozenset('<>:"|?*') | {chr(code) for code in (*range(32), 127)}
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
_LONGEST = 200
"""Longest name in bytes. File systems allow 255, and a counter and an ending are added to the name."""

_RUN_COLUMNS = ("solver", "mode", "model", *erk.SETTINGS)


def as_csv(runs: Sequence[TracedRun]) -> str:
    """A header, then one row for each run, step and sample. A value that is not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [field.name for field in fields(erk.StepRecord)]
    writer.writerow(
        ["run", "label", *_RUN_COLUMNS, "sample", *("step" if name == "index" else name for name in columns)]
    )
    for number, run in enumerate(runs, start=1):
        known = {} if run.trace.info is None else run.trace.info.as_dict()
        about = [known.get(name) for name in _RUN_COLUMNS]
        for step in run.steps:
            for sample in range(run.batch):
                values = (getattr(step, name) for name in columns)
                cells = [value[sample] if isinstance(value, list) else value for value in values]
                writer.writerow([number, run.label, *about, sample, *map(_cell, cells)])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    value = erk.json_safe(value)
    return "" if value is None else value


def check_prefix(prefix: str) -> str:
    r"""The prefix with "/" between its parts. ``\`` counts as "/" on every system.

    Raises ValueError for a name that could lead out of the output folder, or that some systems cannot store.
    """

    def refuse(why: str) -> ValueError:
        shown = prefix if len(prefix) <= 60 else prefix[:57] + "..."
        return ValueError(
            f"ERK-Guid: filename_prefix {shown!r} {why}; give a name below ComfyUI's output folder, such as "
            f"{DEFAULT_PREFIX}."
        )

    odd = sorted(set(prefix) & _FORBIDDEN)
    if odd:
        dates = " (for the date write %year%-%month%-%day%)" if "%date:" in prefix else ""
        raise refuse(f"contains {', '.join(map(repr, odd))}, which is not allowed in file names{dates}")
    slashed = prefix.replace("\\", "/")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if slashed.startswith("/"):
        raise refuse("is an absolute path")
    if ".." in parts:
        raise refuse("leads out of its folder with '..'")
    if not parts:
        raise refuse("is empty")
    for part in parts:
        if part != part.strip() or part.endswith("."):
            raise refuse(f"has the part {part!r}, which begins or ends with a space or ends with a dot")
        if part.split(".")[0].strip().lower() in _DEVICES:
            raise refuse(f"has the part {part!r}, which is a device's name on Windows")
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            raise refuse("contains half of a surrogate pair, which is not allowed in file names") from None
        if length > _LONGEST:
            raise refuse(f"has a part of {length} bytes, but at most {_LONGEST} are allowed")
    return "/".join(parts)


def save_runs(
    runs: Sequence[TracedRun],
    kind: str,
    prefix: str,
    width: int,
    height: int,
    picture: Callable[[str], bytes] | None = None,
) -> list[ui.SavedResult]:
    """Write the runs in the formats of `kind`, a key of FORMATS. Returns the files' entries for the page.

    picture  the plot as the contents of a file, "png" or "svg"

    See :func:`save_files`.
    """
    if not FORMATS[kind]:
        return []
    check_prefix(prefix)  # before the plot is drawn again
    contents = {ending: _content(ending, runs, picture) for ending in FORMATS[kind]}
    return save_files(contents, prefix, width, height, "trace")


def save_files(contents: dict[str, bytes], prefix: str, width: int, height: int, what: str) -> list[ui.SavedResult]:
    """Write a file for each ending, such as ".csv". Returns the files' entries for the page.

    All files get the same number, which no file has yet. width and height fill in the prefix's placeholders; `what` is
    named in the error.

    Raises ValueError for an invalid prefix, and OSError with a one-sentence message if a file cannot be written.
    """
    prefix = check_prefix(prefix)
    output = folder_paths.get_output_directory()
    _require_inside(output, Path(output, prefix).parent)
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
        _require_inside(output, Path(folder))
        names = _write(Path(folder), name, counter, contents)
    except OSError as error:
        raise OSError(
            f"ERK-Guid: the {what} could not be saved as {prefix!r} in ComfyUI's output folder "
            f"({error.strerror or error}): "
            "free that place or choose another filename_prefix."
        ) from error
    return [ui.SavedResult(name, subfolder, comfy_io.FolderType.output) for name in names]


def _content(ending: str, runs: Sequence[TracedRun], picture: Callable[[str], bytes] | None) -> bytes:
    if ending in (".csv", ".json"):
        return (as_csv if ending == ".csv" else as_json)(runs).encode()
    assert picture is not None, "who saves the plot has one"
    return picture(ending.removeprefix("."))


def _require_inside(output: str, folder: Path) -> None:
    """Refuse a link that leads out of the output folder. Only newer versions of ComfyUI check this themselves."""
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(output)):
        raise ValueError(
            f"ERK-Guid: filename_prefix leads to {str(folder)!r}, which is a link out of ComfyUI's output folder: "
            f"give a name below that folder, such as {DEFAULT_PREFIX}."
        )


def _write(folder: Path, name: str, counter: int, contents: dict[str, bytes]) -> list[str]:
    """Write all files with the same number. If another node has just created one of them, try the next number."""
    for number in range(counter, counter + 1000):
        names = [f"{name}_{number:05}_{ending}" for ending in contents]
        made: list[Path] = []
        try:
            for file, content in zip(names, contents.values(), strict=True):
                with (folder / file).open("xb") as stream:
                    made.append(folder / file)
                    stream.write(content)
            return names
        except BaseException as error:
            for path in made:
                with contextlib.suppress(OSError):
                    path.unlink()
            if not isinstance(error, FileExistsError):
                raise
    raise FileExistsError(f"every number from {counter} to {counter + 999} is taken")
