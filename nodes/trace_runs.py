"""Traces side by side: what each is called, and why a value is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import erk

SEPARATOR = "  \N{MIDDLE DOT}  "


@dataclass(frozen=True)
class Run:
    """A trace, read once, with its label."""

    label: str
    trace: erk.Trace
    steps: list[erk.StepRecord]

    @property
    def batch(self) -> int:
        return len(self.steps[0].stiffness) if self.steps else 0


def label_runs(traces: Sequence[erk.Trace], given: Sequence[str] = ()) -> tuple[str, list[Run]]:
    """Returns what all runs share, as a title, and the runs, each labelled by what sets it apart.

    `given` are labels in the order of the traces; an empty one, or one too few, is made up.
    """
    steps = [trace.steps for trace in traces]
    facts = [_facts(trace, records) for trace, records in zip(traces, steps, strict=True)]
    known = [fact for fact in facts if fact]
    shared = {key: text for key, text in (known[0] if known else {}).items() if all(fact.get(key) == text for fact in known)}
    made = [SEPARATOR.join(text for key, text in fact.items() if key not in shared) for fact in facts]
    labels = []
    for i, label in enumerate(made):
        wanted = " ".join(given[i].split()) if i < len(given) else ""
        unique = label and made.count(label) == 1
        labels.append(wanted or (label if unique else f"run {i + 1}{SEPARATOR if label else ''}{label}"))
    runs = [Run(*parts) for parts in zip(labels, traces, steps, strict=True)]
    title = list(shared.values())
    if len(runs) == 1 and given and given[0].strip():
        title.insert(0, labels[0])
    return SEPARATOR.join(title) or "ERK-Guid", runs


def split_labels(text: str) -> list[str]:
    """One label a line; or, where there is one line only, separated by commas."""
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


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_json(runs: Sequence[Run]) -> str:
    """One run: its trace as :meth:`erk.Trace.to_json` has it. Several: {"runs": [...]}, each with its label."""
    if len(runs) == 1:
        return runs[0].trace.to_json()
    data: list[dict[str, Any]] = [{"label": run.label, **run.trace.as_dict()} for run in runs]
    return json.dumps({"runs": data}, indent=1)


def why_nothing(run: Run, values: str) -> str:
    """Why no step of a run has a drawable value of `values`, a field of StepRecord, in words."""
    mode = run.trace.info.mode if run.trace.info else ""
    if not run.steps:
        return "empty, no step has been sampled yet"
    if values == "data_std" and mode != "calibrated":
        return f"mode {mode} makes no estimate of S" if mode else "no estimate of S"
    if len(run.steps) == 1 and all(math.isnan(value) for value in getattr(run.steps[0], values)):
        return "one step only, so there are no two states to compare"
    if values == "data_std":
        return "no step allows an estimate of S"
    return "no finite value in any step" if values == "correction" else "no finite value above 0 in any step"


def what_is_odd(run: Run, values: str) -> str:
    """Which steps have values that are not finite where they should be, in words; empty where all is well.

    A solver that looks back has no pair at its first step, and one with its pair inside the step none
    at the last: NaN is right there. An S that no data could have is NaN at any step.
    """
    odd = [step.index for step in run.steps if any(_is_odd(value, step.index, len(run.steps), values) for value in getattr(step, values))]
    if not odd:
        return ""
    return f"not finite at step{'s' if len(odd) > 1 else ''} {_listed(odd)}"


def _is_odd(value: float, index: int, steps: int, values: str) -> bool:
    if math.isfinite(value):
        return False
    if not math.isnan(value) or values == "correction":
        return True
    return values != "data_std" and index not in (0, steps - 1)


def _listed(numbers: list[int]) -> str:
    shown = [str(number) for number in numbers[:6]]
    if len(numbers) > len(shown):
        return f"{', '.join(shown)} and {len(numbers) - len(shown)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
