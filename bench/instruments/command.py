"""The command line that the measurements share: options, quiet logs, and the command that results show.

A measurement writes its rows into a CSV file and makes its page and plots from that file. So --report gives the same
page without measuring.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from .environment import RESULTS

_NO_MATTER = ("output", "threads", "report")
"""Options that do not change any row."""


def parser(
    name: str,
    description: str | None,
    samples: int | None = None,
    budgets: Sequence[int] = (),
    counted: str = "model calls",
    only: Iterable[str] = (),
    kinds: Iterable[str] = (),
    stock: bool = False,
) -> argparse.ArgumentParser:
    """The options of a measurement whose results are rows, a page and plots in one folder.

    name              name of the module in bench/
    samples, budgets  the defaults; without a default there is no such option
    counted           what the budgets count
    only, kinds       the names and the kinds of model to choose from
    stock             whether ComfyUI's own samplers take part and can be left out
    """
    made = plain_parser(name, description)
    if samples is not None:
        made.add_argument("--samples", type=int, default=samples, help="samples per run")
    if budgets:
        made.add_argument("--budgets", type=int, nargs="+", default=list(budgets), help=counted)
    for flag, what in (("--only", list(only)), ("--kinds", list(kinds))):
        if what:
            made.add_argument(
                flag, nargs="+", choices=what, metavar="NAME", default=what, help=f"from {', '.join(what)}"
            )
    if stock:
        made.add_argument("--no-stock", action="store_true", help="leave out ComfyUI's own samplers")
    made.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    return made


def plain_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of a measurement that does not write a page into a folder."""
    made = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--threads", type=int, default=1, help="torch threads")
    made.add_argument(
        "--report", action="store_true", help="do not measure; write the page and plots from the existing rows"
    )
    return made


def begin(options: argparse.Namespace) -> Path:
    """Set up torch and the loggers. Returns the folder of the results."""
    quiet(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    return options.output


def quiet(threads: int = 1) -> None:
    torch.set_num_threads(threads)
    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="comfy")


def text(made: argparse.ArgumentParser, options: argparse.Namespace, without: Iterable[str] = ()) -> str:
    """The command that makes the same rows again, without the options that do not change a row."""
    parts = [made.prog]
    for name, value in vars(options).items():
        if name in (*_NO_MATTER, *without) or value == made.get_default(name):
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        parts += [f"--{name.replace('_', '-')}", *(f"'{v}'" if " " in str(v) else str(v) for v in values)]
    return " ".join(parts)
