"""The comparison as a table: for reading, and for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from ..traces.language import columns, tell
from .comparison import Comparison, Row


def as_text(comparison: Comparison, first_line: str) -> str:
    """The sentence, then a row for each run: steps, model calls, the median and mean error over the batch, seconds."""
    header = (tell("sampler"), tell("steps"), tell("calls"), tell("error"), tell("mean"), tell("seconds"), "")
    lines = [header, *(_cells(comparison.shown(row.plan.entry.label), row) for row in comparison.rows)]
    reference = comparison.reference
    lines.append(_cells(tell("converged: %s", reference.plan.entry.label), reference))
    widths = [max(columns(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "  ".join(
            _padded(cell, width, left=i in (0, len(header) - 1))
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    last = tell(
        "error: root mean square distance of the latent to the converged one, over the standard deviation of that one; "
        "the median over the batch, and its mean. The converged one's error is its distance to the run of half as many "
        "calls: what is smaller says nothing."
    )
    added = tell(
        "A sampler that goes to noise level 0 by a plain last step stays about %s away: so much of the converged "
        "picture is not in the model's own last prediction.",
        short_error(comparison.added),
    )
    unfinished = [] if comparison.complete else [tell("Stopped before all was run; queue again to go on.")]
    return "\n".join([first_line, *unfinished, "", *text, "", last, *([] if math.isnan(comparison.added) else [added])])


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - columns(cell))
    return cell + space if left else space + cell


def _cells(label: str, row: Row) -> tuple[str, ...]:
    seconds = f"{row.outcome.seconds:.1f}" if row.outcome is not None else ""
    return (label, str(row.plan.steps), str(row.calls), short_error(row.median), short_error(row.mean), seconds,
            row.note)  # fmt: skip


def short_error(value: float) -> str:
    """Three digits; nothing where there is no number."""
    if math.isnan(value):
        return ""
    return f"{value:.3g}" if value >= 1e-4 or value == 0 else f"{value:.1e}"


def as_csv(comparison: Comparison, settings: Mapping[str, Any]) -> str:
    """A header, then one row for each run and picture; a run without a latent has one row with its note.

    settings  columns that are the same in every row, such as seed and cfg
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "role", "sampler", "stochastic", "budget", "steps", "calls", "seconds", "sample", "error", "median", "mean",
        "note", *settings,
    ])  # fmt: skip
    for role, row in [("reference", comparison.reference), *(("run", row) for row in comparison.rows)]:
        label = row.plan.entry.label
        about = [role, label, int(label in comparison.stochastic), row.plan.budget, row.plan.steps, row.calls]
        about.append("" if row.outcome is None else round(row.outcome.seconds, 3))
        for sample, error in enumerate(row.errors) if row.errors else [("", math.nan)]:
            numbers = [_number(value) for value in (error, row.median, row.mean)]
            writer.writerow([*about, sample, *numbers, row.note, *settings.values()])
    return text.getvalue()


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else ""
