"""Measurements as rows of a CSV file, one frozen dataclass per row."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Generic, TypeVar

Row = TypeVar("Row")
_MAKERS = {"int": int, "float": float, "str": str}


def read(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file, or none if it does not exist. The dataclass has fields of type int, float and str."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            row(**{f.name: _MAKERS[str(f.type)](line[f.name]) for f in fields(row)}) for line in csv.DictReader(file)
        ]


def need(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file. Raises SystemExit if there are none."""
    made = read(path, row)
    if not made:
        raise SystemExit(f"{path} has no rows: run the same command without --report to make them.")
    return made


class Writer(Generic[Row]):
    """Begins a file with the rows to keep, and appends new rows. Each row is written to the disk at once."""

    def __init__(self, path: Path, row: type[Row], kept: Iterable[Row] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow([f.name for f in fields(row)])
        for old in kept:
            self.write(old)

    def write(self, row: Row) -> None:
        self._csv.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in astuple(row)])
        self._file.flush()
