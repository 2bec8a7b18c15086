"""Means, ratios and Markdown tables of results, and the rules for what they count."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

EXACT = 1e-3
"""Mode off has solved a cell if its error is less than this fraction of the data's scale.

A ratio says nothing there, and what counts is how much error a mode adds.
"""

WORSE_BY = 1e-3
"""A sample counts as made worse if its error grew by more than this fraction (and by more than rounding, 1e-6)."""


def share_worse(errors: Tensor, off: Tensor) -> float:
    """Share of the samples made worse, by their errors [B] and those with mode off [B]."""
    return float((errors > off * (1 + WORSE_BY) + 1e-6).double().mean())


def ratio(value: float, base: float) -> float:
    return value / base if math.isfinite(value) and base > 0 else math.inf


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean. NaN if there is nothing to average, or if something is infinite."""
    values = list(values)
    return statistics.geometric_mean(values) if values and all(math.isfinite(v) and v > 0 for v in values) else math.nan


def table(heads: Sequence[str], lines: Iterable[Sequence[object]], columns: str = "") -> list[str]:
    """A Markdown table. columns: "l" for text, "r" for numbers; by default the first column alone is text."""
    columns = columns or "l" + "r" * (len(heads) - 1)
    return [
        f"| {' | '.join(heads)} |",
        f"|{''.join('---|' if column == 'l' else '---:|' for column in columns)}",
        *(f"| {' | '.join(map(str, line))} |" for line in lines),
        "",
    ]


def write_page(path: Path, lines: Iterable[str]) -> None:
    path.write_text(page(lines))


def page(lines: Iterable[str]) -> str:
    """Lines as a file of Markdown."""
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ("inf" if value == math.inf else "")


def percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else ""
