"""Several traces together, and their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import erk
from .language import tell
from .words import calls_in_words, steps_in_words

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


def label_runs(
    traces: Sequence[erk.Trace], given: Sequence[str] = (), settings: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, list[TracedRun]]:
    """Returns a title of what all runs share, and the runs, each labelled by what distinguishes it.

    given     labels in the order of the traces; one that is empty or missing is generated
    settings  what else is known about each run, as :func:`.source.settings_of` returns it
    """
    steps = [trace.steps for trace in traces]
    known_settings = [*settings, *({} for _ in traces)][: len(traces)]
    facts = [_facts(*one) for one in zip(traces, steps, known_settings, strict=True)]
    known = [fact for fact in facts if fact]
    shared = {
        key: text for key, text in (known[0] if known else {}).items() if all(fact.get(key) == text for fact in known)
    }
    made = [SEPARATOR.join(text for key, text in fact.items() if key not in shared) for fact in facts]
    labels = []
    for i, label in enumerate(made):
        wanted = " ".join(given[i].split()) if i < len(given) else ""
        unique = label and made.count(label) == 1
        labels.append(wanted or (label if unique else f"{tell('run %s', i + 1)}{SEPARATOR if label else ''}{label}"))
    runs = [TracedRun(*parts) for parts in zip(labels, traces, steps, strict=True)]
    title = list(shared.values())
    if len(runs) == 1 and given and given[0].strip():
        title.insert(0, labels[0])
    return SEPARATOR.join(title) or "ERK-Guid", runs


def split_labels(text: str) -> list[str]:
    """Labels from a text: one per line or, if there is only one line, separated by commas."""
    return [label.strip() for label in (text.splitlines() if "\n" in text.strip() else text.split(","))]


def _facts(trace: erk.Trace, steps: list[erk.StepRecord], settings: Mapping[str, Any]) -> dict[str, str]:
    info = trace.info
    if info is None:
        return {}
    facts = {"solver": info.title, "mode": tell("mode %s", info.mode)}
    facts |= {name: f"{name} {value:.3g}" for name, value in info.settings.items()}
    facts["steps"] = steps_in_words(len(steps))
    if steps:
        facts["calls"] = calls_in_words(steps[-1].model_calls)
    if "scheduler" in settings:
        facts["scheduler"] = str(settings["scheduler"])
    if "cfg" in settings:
        facts["cfg"] = tell("cfg %s", f"{settings['cfg']:g}")
    if "seed" in settings:
        facts["seed"] = tell("seed %s", settings["seed"])
    facts["model"] = tell("%s model", info.model)
    if steps and len(steps[0].stiffness) > 1:
        facts["batch"] = tell("batch of %s", len(steps[0].stiffness))
    return facts


def as_json(runs: Sequence[TracedRun]) -> str:
    """One run gives its trace, as :meth:`erk.Trace.to_json`. Several give {"runs": [...]}, each with its label."""
    if len(runs) == 1:
        return runs[0].trace.to_json()
    data: list[dict[str, Any]] = [{"label": run.label, **run.trace.as_dict()} for run in runs]
    return json.dumps({"runs": data}, indent=1)
