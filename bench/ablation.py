"""What each mechanism of mode calibrated contributes: python -m bench.ablation.

Each mechanism is switched off alone, and the same cells are run again. The cells are problems of every kind from
bench/instruments/problems.py, as sigma-space and flow models on their first schedule, and the demo model's mosaics
under CFG on a schedule whose last step is long. This writes ablation.csv and ABLATION.md into bench/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from devtools.inprocess import pack_module

from .accuracy import Cell
from .instruments import command, edm, environment, rows
from .instruments.comfy_model import Bench
from .instruments.problems import problem
from .instruments.stock import erk_samplers, steps_within
from .instruments.subjects import mosaics
from .instruments.tables import geometric_mean, number, page, table

LIKE_THE_MODEL = (
    "gaussian-rotated",
    "gaussian-patches",
    "spiral-0.10",
    "mixture-8x8",
    "mixture-3x16x16",
    "digits-0.30",
    "digits-cfg-4",
)
"""Smooth data, which the rule is made for."""
UNLIKE_IT = ("flat-areas", "even-colour-bf16", "line-art-0.02", "line-art-cfg-7.5", "sphere-64", "digits-negative")
"""Blank areas, rounding, hard edges, strong guidance, a manifold. The rule must not do harm there."""
MOSAICS = {"mosaics, CFG 3": 3.0, "mosaics, CFG 8": 8.0}
"""A right prediction that jumps from one picture to another, and that CFG has driven far from the data."""
LONG_LAST_STEP = "linear_quadratic"
KINDS = {"eps": "karras", "flow": "simple"}
BUDGETS = (8, 16)
FLOOR = 1e-3
"""Added to both errors of a ratio, as a fraction of the data's deviation. A cell with a smaller error is solved."""
WORSE = 1.10


@dataclass(frozen=True)
class Row:
    """One cell with one mechanism switched off, or with none switched off. Errors are means over the samples."""

    without: str
    problem: str
    kind: str
    sampler: str
    budget: int
    off: float
    calibrated: float
    scale: float

    @property
    def ratio(self) -> float:
        floor = FLOOR * self.scale
        return (self.calibrated + floor) / (self.off + floor)


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """For each mechanism, what happens without it, and the new values of the names that switch it off.

    A name is ``module.owner.name``.
    """
    rule, claim, plane = _module("rule"), _module("claim"), _module("spread").plane
    believed = {"rule.CalibratedRule._trust": lambda self, size: torch.ones_like(size)}
    as_before = {"rule.CalibratedRule.correct": _as_before(rule.CalibratedRule.correct)}
    as_others = {"claim.agreement": _as_others(claim.agreement)}
    return {
        "none": ("the rule as it is", {}),
        "earned trust": ("every claim is believed", believed),
        "surprise": ("an error larger than the claim never lowers the trust", {"claim.SURPRISE": 0.0}),
        "small claims": ("however small a claim was, it earns trust for the next", {"rule.GROWTH": math.inf}),
        "the last step's own judgement": ("it uses the trust that the step before earned", as_before),
        "the last step's caution": ("its judgement counts as much as that of any other step", as_others),
        "undecided pictures": ("the last step is corrected although D still changes", {"claim.UNDECIDED": math.inf}),
        "strayed runs": ("no run is ever given up", {"rule.STRAYED": 1e9}),
        "spread": ("a band has one variance", {"local_model.plane": lambda *facts: _single(plane(*facts))}),
        "scatter": ("all of q's variance is that of u, after multistep steps too", {"quotient.SCATTER_OF_U": 1.0}),
        "chance": (
            "in the last step too, a difference that may be chance is taken as one",
            {"quotient.CHANCE": 0.0},
        ),
        "small parts": (
            "what a step does to a part of a band is not bounded",
            {"local_model.plane": lambda missed, quotients, most: plane(missed, quotients, math.inf)},
        ),
        "expanding modes": ("u below 0 counts as all noise", {"quotient.NOISE_FRACTION_EXPANDING": 1.0}),
    }


def _module(name: str) -> Any:
    return pack_module(f"erk.guidance.calibrated.{name}")


def _single(plane: Tensor) -> Tensor:
    """The plane's last row, for a single u, in all rows."""
    return plane[:, :, -1:].expand_as(plane).contiguous()


def _as_before(correct: Callable[..., Any]) -> Any:
    """The step before the last one is judged by its own claim, as any other step is."""
    return lambda self, made: correct(
        self, made if made.following != 0 else replace(made, following=made.sigma_next / 2)
    )


def _as_others(agreement: Callable[..., Tensor]) -> Any:
    return lambda product, claimed_square, found_square, last: agreement(product, claimed_square, found_square, False)


@contextlib.contextmanager
def without(changes: dict[str, Any]) -> Iterator[None]:
    """A context in which some names of the calibrated rule have other values."""
    local = _module("local_model")
    for planes in (local.missed_by_step, local.change_of_denoised):
        planes.cache_clear()
    try:
        with replaced("erk.guidance.calibrated", changes):
            yield
    finally:
        for planes in (local.missed_by_step, local.change_of_denoised):
            planes.cache_clear()


@contextlib.contextmanager
def replaced(package: str, changes: dict[str, Any]) -> Iterator[None]:
    """A context in which names in one of the pack's packages, ``module.owner.name``, have other values."""
    with contextlib.ExitStack() as stack:
        for path, value in changes.items():
            module, *holders, name = path.split(".")
            owner = functools.reduce(getattr, holders, pack_module(f"{package}.{module}"))
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def measure(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    for name, kind in itertools.product(options.only, KINDS):
        if name in MOSAICS:
            cells, scale = _mosaics(MOSAICS[name], kind)
        else:
            cells, scale = _exact(name, kind)
        for budget, sampler in itertools.product(options.budgets, erk_samplers()):
            errors = cells(budget)
            off = errors(sampler, "off")
            for mechanism, (_, changes) in variants().items():
                with without(changes):
                    error = errors(sampler, "calibrated")
                writer.write(Row(mechanism, name, kind, sampler, budget, off, error, scale))
        print(f"{name} {kind}", file=sys.stderr)


Errors = Callable[[str, str], float]
"""The mean error of a sampler in a mode."""


def _exact(name: str, kind: str) -> tuple[Callable[[int], Errors], float]:
    """Errors by number of calls, and the data's deviation."""
    what = problem(name)
    bench = Bench(what, kind, what.noise()[:16])

    @functools.cache
    def errors(budget: int) -> Errors:
        cell = Cell(what, bench, KINDS[kind], budget)
        return lambda sampler, mode: float(cell.errors(sampler, mode).mean())

    return errors, float(what.distribution.deviation)


def _mosaics(cfg: float, kind: str) -> tuple[Callable[[int], Errors], float]:
    """The same, on the schedule with the long last step. The end is that of a long run on the usual one."""
    denoiser, classes, noise = mosaics(count=12, side=64)
    bench = Bench(edm.Model(denoiser, cfg, classes), kind, noise)
    end = bench.sample("erk_deis", bench.sigmas(KINDS[kind], 200), {"mode": "off"})[0]

    def errors(budget: int) -> Errors:
        def error(sampler: str, mode: str) -> float:
            sigmas = bench.sigmas(LONG_LAST_STEP, steps_within(sampler, budget))
            found = bench.sample(sampler, sigmas, {"mode": mode})[0]
            return float((found - end).square().flatten(1).mean(1).sqrt().mean())

        return error

    return errors, float(end.std())


def report(made: list[Row], sentence: str) -> str:
    """ABLATION.md."""
    lines = [
        "# What each mechanism contributes",
        "",
        sentence,
        "",
        "The numbers are the error of `calibrated` divided by that of `off`, as a geometric mean over solvers, "
        "problems and 8 and 16 model calls. A thousandth of the data's deviation is added to both errors. Worse: the "
        f"cells above {WORSE:.2f}. Each line is the rule without one mechanism. The demo model's mosaics are of other "
        "pictures than arcs, which helped to choose; they are compared with long runs on the usual schedules.",
        "",
    ]
    groups = {
        "Data like the model": LIKE_THE_MODEL,
        "Data unlike the model": UNLIKE_IT,
        f"A long last step: {LONG_LAST_STEP}": tuple(MOSAICS),
    }
    for title, names in groups.items():
        body = []
        for mechanism, (what, _) in variants().items():
            cells = [f"**{mechanism}**: {what}"]
            for kind in KINDS:
                ratios = [
                    row.ratio for row in made if row.without == mechanism and row.kind == kind and row.problem in names
                ]
                if ratios:
                    cells += [
                        number(geometric_mean(ratios)),
                        number(max(ratios)),
                        f"{sum(r > WORSE for r in ratios)} of {len(ratios)}",
                    ]
            body.append(cells)
        heads = ["without"] + [f"{kind} {column}" for kind in KINDS for column in ("mean", "worst", "worse")]
        lines += [f"## {title}", "", f"{', '.join(names)}.", "", *table(heads, body)]
    return page(lines)


def main() -> int:
    parser = command.parser("ablation", __doc__, budgets=BUDGETS, only=[*LIKE_THE_MODEL, *UNLIKE_IT, *MOSAICS])
    return write(parser, "ablation", Row, measure, report)


def write(
    parser: argparse.ArgumentParser,
    name: str,
    row: type,
    measure: Callable[[argparse.Namespace, Path], None],
    report: Callable[[list[Any], str], str],
) -> int:
    """Rows into NAME.csv, unless --report is given, and the page that they make. Returns the exit status."""
    options = parser.parse_args()
    folder = command.begin(options)
    csv, written = folder / f"{name}.csv", folder / f"{name.upper()}.md"
    record = csv.with_suffix(".json")
    if not options.report:
        environment.record(record, command.text(parser, options))
        measure(options, csv)
    written.write_text(report(rows.need(csv, row), environment.sentence(record)))
    print(csv, written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
