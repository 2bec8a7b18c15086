"""What people type into the Convergence Test: samplers, one a line, and numbers of model calls."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers

from ... import erk
from ..samplers import PREFIX, SAMPLERS

MOST_ENTRIES = 16
"""Lines that a plot can tell apart."""
MOST_NUMBERS = 12
LEAST_CALLS, MOST_CALLS = 2, 500

_NOT_TYPED = {"noise_sampler", "trace"}
"""Options that are objects."""


@dataclass(frozen=True)
class Entry:
    """A sampler with options, as one line names it.

    label    the line itself, in its plainest form
    name     of the sampler in ComfyUI's list
    options  for its function, in the order given
    """

    label: str
    name: str
    options: tuple[tuple[str, float | str], ...] = ()

    def make(self) -> comfy.samplers.KSAMPLER:
        """ComfyUI's sampler object, as KSamplerSelect gives it, without noise of its own where it offers that.

        ``eta`` is set to 0 where the function has it and the line does not.
        """
        sampler = comfy.samplers.sampler_object(self.name)
        quiet = {"eta": 0.0} if "eta" in _parameters(self.name) else {}
        sampler.extra_options = {**sampler.extra_options, **quiet, **dict(self.options)}
        return sampler


def read_entries(text: str) -> list[Entry]:
    """The samplers of a text, one a line; empty lines and repeated ones count for nothing.

    Raises ValueError for a name that ComfyUI's list does not have, an option that the sampler does not take, a value
    that cannot be, and where there is no line or more than MOST_ENTRIES.
    """
    lines = [line.strip() for line in text.splitlines()]
    entries = list(dict.fromkeys(_read_entry(line) for line in lines if line))
    if not entries:
        raise ValueError(
            "ERK-Guid: samplers is empty: name one sampler a line, as they stand in KSampler's list, such as "
            f"{PREFIX}abm."
        )
    if len(entries) > MOST_ENTRIES:
        raise ValueError(
            f"ERK-Guid: samplers has {len(entries)} lines, and {MOST_ENTRIES} are the most that one plot can tell "
            "apart: test the others on their own."
        )
    return entries


def _read_entry(line: str) -> Entry:
    name, *given = re.split(r"[\s,]+", line.strip(" ,"))
    if name not in comfy.samplers.SAMPLER_NAMES:
        wrong = "an option without a sampler before it" if "=" in name else "no sampler of this ComfyUI"
        raise ValueError(
            f"ERK-Guid: samplers has {name!r}, which is {wrong}; {_nearest(name, comfy.samplers.SAMPLER_NAMES)}."
        )
    options: dict[str, float | str] = {}
    for part in given:
        option, sign, value = part.partition("=")
        if not sign:
            raise ValueError(
                f"ERK-Guid: samplers has {part!r} behind {name}, but what follows a name are options such as eta=0: "
                "write one sampler a line."
            )
        options[option] = _value_of(name, option, value)
    _check_ours(name, options)
    shown = (f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}" for option, value in
             options.items())  # fmt: skip
    return Entry(" ".join([name, *shown]), name, tuple(options.items()))


def _value_of(name: str, option: str, text: str) -> float | str:
    """The text as a value of the kind that the option has by default."""
    known = _parameters(name)
    if option not in known:
        has = f"it takes {', '.join(known)}" if known else "it takes none"
        raise ValueError(f"ERK-Guid: samplers gives {name} the option {option!r}, which it does not have; {has}.")
    default = known[option]
    if isinstance(default, str):
        return text
    try:
        value: float = int(text) if isinstance(default, int) else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        kind = "whole" if isinstance(default, int) else "finite"
        raise ValueError(f"ERK-Guid: samplers gives {name} {option}={text}, but {option} must be a {kind} number.")
    return value


def _parameters(name: str) -> dict[str, Any]:
    """Options of a sampler's function that can be typed, and their defaults."""
    function: Callable[..., Any] = SAMPLERS.get(name) or comfy.samplers.sampler_object(name).sampler_function
    options = {
        parameter.name: parameter.default
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and isinstance(parameter.default, (int, float, str, type(None)))
        and not isinstance(parameter.default, bool)
    }
    for common in ("extra_args", "callback", "disable", *_NOT_TYPED):
        options.pop(common, None)
    return options


def _check_ours(name: str, options: dict[str, float | str]) -> None:
    """Modes, orders and noise of our own samplers: the sentences are theirs. Others are tried by :mod:`.counting`."""
    if name not in SAMPLERS:
        return
    settings: dict[str, Any] = {"mode": erk.MODES[0], "w_stiff": None, "w_con": None, **options}
    of_solver = {option: settings.pop(option) for option in ("max_order", "eta", "s_noise") if option in settings}
    erk.make_guidance(**settings, steps=8)
    erk.make_solver(name.removeprefix(PREFIX), erk.SIGMA_SPACE, **of_solver)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"the nearest names are {', '.join(near)}" if near else "take the names of KSampler's list"


def read_calls(text: str) -> list[int]:
    """Numbers of model calls, rising, each once.

    Raises ValueError for what is no whole number, a number out of bounds, and where there is none or too many.
    """
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    bounds = f"whole numbers from {LEAST_CALLS} to {MOST_CALLS}, such as 8, 12, 16, 24"
    if not parts:
        raise ValueError(f"ERK-Guid: calls is empty: give {bounds}.")
    for part in parts:
        if not (part.isascii() and part.isdigit() and LEAST_CALLS <= int(part) <= MOST_CALLS):
            raise ValueError(f"ERK-Guid: calls has {part!r}, but must be {bounds}.")
    calls = sorted({int(part) for part in parts})
    if len(calls) > MOST_NUMBERS:
        raise ValueError(f"ERK-Guid: calls has {len(calls)} numbers, and {MOST_NUMBERS} are the most.")
    return calls
