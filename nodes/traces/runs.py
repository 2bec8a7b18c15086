"""Several traces together, and their labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ... import erk
from .words import counted

SEPARATOR = "  \N{MIDDLE DOT}  "


@dataclass(frozen=True)
class TracedRun:
    """A trace with its label. The trace is read only once."""

    label: str
    trace: erk.Trace
    steps: list[erk.StepRecord]

    @property
    def batch(self) -> int:
        return len(self.steps[0].stiffness) if self.steps else 0


def label_runs(traces: Sequence[erk.Trace], given: Sequence[str] = ()) -> tuple[str, list[TracedRun]]:
    """Returns a title of what all runs share, and the runs, each labelled by what distinguishes it.

    `given` are labels in the order of the traces. A label is generated for each one that is empty or missing.
    """
    steps = [trace.steps for trace in traces]
    facts = [_facts(trace, records) for trace, records in zip(traces, steps, strict=True)]
    known = [fact for fact in facts if fact]
    shared = {
        key: text for key, text in (known[0] if known else {}).items() if all(fact.get(key) == text for fact in known)
    }
    made = [SEPARATOR.join(text for key, text in fact.items() if key not in shared) for fact in facts]
    labels = []
    for i, label in enumerate(made):
        wanted = " ".join(given[i].split()) if i < len(given) else ""
        unique = label and made.count(label) == 1
        labels.append(wanted or (label if unique else f"run {i + 1}{SEPARATOR if label else ''}{label}"))
    runs = [TracedRun(*parts) for parts in zip(labels, traces, steps, strict=True)]
    title = list(shared.values())
    if len(runs) == 1 and given and given[0].strip():
        title.insert(0, labels[0])
    return SEPARATOR.join(title) or "ERK-Guid", runs


def split_labels(text: str) -> list[str]:
    """Labels from a text: one per line or, if there is only one line, separated by commas."""
    return [label.strip() for label in (text.splitlines() if "\n" in text.strip() else text.split(","))]


def _facts(trace: erk.Trace, steps: list[erk.StepRecord]) -> dict[str, str]:
    info = trace.info
    if info is None:
        return {}
    facts = {"solver": info.title, "mode": f"mode {info.mode}"}
    facts |= {name: f"{name} {value:.3g}" for name, value in info.settings.items()}
    facts["steps"] = counted(len(steps), "step")
    if steps:
        facts["calls"] = counted(steps[-1].model_calls, "model call")
    facts["model"] = f"{info.model} model"
    if steps and len(steps[0].stiffness) > 1:
        facts["batch"] = f"batch of {len(steps[0].stiffness)}"
    return facts


def as_json(runs: Sequence[TracedRun]) -> str:
    """One run gives its trace, as :meth:`erk.Trace.to_json`. Several give {"runs": [...]}, each with its label."""
    if len(runs) == 1:
        return runs[0].trace.to_json()
    data: list[dict[str, Any]] = [{"label": run.label, **run.trace.as_dict()} for run in runs]
    return json.dumps({"runs": data}, indent=1)
