"""What each mechanism of the solver abm contributes: python -m bench.abm.

Each is switched off alone, in mode off, on exact problems, and on the network of photographs and the demo model's
mosaics at strengths of CFG, pictures and noises that did not help to choose any of them. This writes abm.csv and ABM.md
into bench/results/.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .ablation import FLOOR, LIKE_THE_MODEL, UNLIKE_IT, replaced, write
from .accuracy import Cell
from .instruments import command, edm, rows
from .instruments.comfy_model import Bench
from .instruments.problems import problem
from .instruments.subjects import mosaics, photographs
from .instruments.tables import geometric_mean, number, page, table

SCHEDULES = {"eps": ("karras", "beta", "simple"), "flow": ("simple", "beta")}
BUDGETS = (8, 12, 16, 24)
PHOTOGRAPHS, MOSAICS, SIDE = 24, 12, 64
"""How many pictures of each, and the sides of a mosaic. arcs helped to choose, so no mosaic shows them."""
SUBJECTS = {"photographs": lambda: photographs(PHOTOGRAPHS), "mosaics": lambda: mosaics(MOSAICS, SIDE)}
GUIDANCE = {"photographs": (1.0, 5.0, 10.0), "mosaics": (8.0,)}
LONG_RUN = 200
PEER = "dpmpp_2m"
UNEVEN = "uneven steps"
GROUPS = {
    "like the model": LIKE_THE_MODEL,
    UNEVEN: LIKE_THE_MODEL,
    "unlike it": UNLIKE_IT,
    "intervals": ("digits-interval", "line-art-interval"),
}


@dataclass(frozen=True)
class Row:
    """One cell with one mechanism switched off, or with none, or with another sampler in its place.

    error  mean over the samples; scale: the data's deviation
    """

    without: str
    group: str
    problem: str
    kind: str
    schedule: str
    budget: int
    error: float
    scale: float

    @property
    def cell(self) -> tuple[str, str, str, str, int]:
        return self.group, self.problem, self.kind, self.schedule, self.budget


def uneven(sigmas: Tensor) -> Tensor:
    """A schedule with two levels more, close below its middle one: a long step follows two short ones."""
    middle = len(sigmas) // 2
    return torch.cat([sigmas[: middle + 1], sigmas[middle] * torch.tensor([0.97, 0.94]), sigmas[middle + 1 :]])


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """For each mechanism, what happens without it, and the new values of the names in erk/solvers."""
    return {
        "none": ("the solver as it is", {}),
        "steadiness": (
            "D's changes are followed although D swings",
            {"abm._steadiness": lambda changes, length, before: None},
        ),
        "persistence": (
            "a D that has collapsed counts like any other",
            {"abm._persistence": lambda size, before: torch.ones_like(size)},
        ),
        "damping": ("the corrector's move is not damped by how fast it converges", {"abm.DAMPING": 0.0}),
        "the curve's bound": ("what the curve adds to the line is not bounded", {"abm.CURVATURE": 1e9}),
        "the corrector": ("the predictor alone", {"abm.ABM.accept": lambda self, evaluated, history: evaluated}),
    }


def measure(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    problems = ((group, name) for group, names in GROUPS.items() for name in names)
    for (group, name), kind in itertools.product(problems, SCHEDULES):
        what = problem(name)
        scale, schedule = float(what.distribution.deviation), SCHEDULES[kind][0]
        bench = Bench(what, kind, what.noise()[:16])
        for budget in options.budgets:
            end = Cell(what, bench, schedule, budget).reference
            sigmas = uneven(bench.sigmas(schedule, budget - 2)) if group == UNEVEN else bench.sigmas(schedule, budget)
            for mechanism, (_, changes) in variants().items():
                with replaced("erk.solvers", changes):
                    found, _ = bench.sample("erk_abm", sigmas, {"mode": "off"})
                error = float(end.distance(found).mean())
                writer.write(Row(mechanism, group, name, kind, schedule, budget, error, scale))
        print(f"{group}, {name}, {kind}", file=sys.stderr)
    for row in _under_guidance(options.budgets):
        writer.write(row)


def _under_guidance(budgets: list[int]) -> Iterator[Row]:
    """Against a long run along the same schedule."""
    for name, kind in itertools.product(GUIDANCE, SCHEDULES):
        denoiser, classes, noise = SUBJECTS[name]()
        for cfg in GUIDANCE[name]:
            bench = Bench(edm.Model(denoiser, cfg, classes), kind, noise)
            for schedule in SCHEDULES[kind]:

                def sample(sampler: str, steps: int, bench: Bench = bench, schedule: str = schedule) -> Tensor:
                    options = {"mode": "off"} if sampler.startswith("erk_") else {}
                    return bench.sample(sampler, bench.sigmas(schedule, steps), options)[0]

                end = sample("erk_deis", LONG_RUN)
                scale, group = float(end.std()), f"{name}, CFG {cfg:g}"
                for budget in budgets:
                    runs = {PEER: ("", {}), **variants()}
                    for mechanism, (_, changes) in runs.items():
                        with replaced("erk.solvers", changes):
                            found = sample(PEER if mechanism == PEER else "erk_abm", budget)
                        error = float((found - end).square().flatten(1).mean(1).sqrt().mean())
                        yield Row(mechanism, group, name, kind, schedule, budget, error, scale)
                print(f"{group}, {kind}, {schedule}", file=sys.stderr)


def report(made: list[Row], sentence: str) -> str:
    """ABM.md."""
    whole = {row.cell: row for row in made if row.without == "none"}
    firsts = " and ".join(f"{kind} {schedule}" for kind, (schedule, *_) in SCHEDULES.items())
    schedules = "; ".join(f"{kind} {', '.join(names)}" for kind, names in SCHEDULES.items())
    problems = "; ".join(f"{group}: {', '.join(names)}" for group, names in GROUPS.items() if group != UNEVEN)
    lines = [
        "# What each mechanism of `abm` contributes",
        "",
        sentence,
        "",
        "The numbers are the error of `erk_abm` in mode off without one mechanism, divided by its error as it is: the "
        f"geometric mean over {', '.join(map(str, sorted({row.budget for row in made})))} calls, and the largest. "
        "Above 1 the mechanism helps. A thousandth of the data's deviation is added to both errors.",
        "",
        f"Exact problems are on one schedule, {firsts}. {problems}. {UNEVEN.capitalize()}: the problems like the "
        "model, on a schedule with two levels more, close below the middle one. All of them may have helped to "
        "choose the constants.",
        "",
        f"With CFG: {PHOTOGRAPHS} pictures of the network of photographs and {MOSAICS} mosaics of the demo model, "
        f"{SIDE} x {SIDE}, on noises that helped to choose nothing, against runs of {LONG_RUN} steps of `erk_deis` "
        f"along the same schedule ({schedules}). The network at CFG 7 helped to choose what `abm` does where D swings. "
        "It and mosaics of other pictures (arcs) at CFG 8 helped to choose what it does where D collapses.",
        "",
    ]
    for kind in SCHEDULES:
        here = [row for row in made if row.kind == kind]
        groups = list(dict.fromkeys(row.group for row in here))
        body = []
        for mechanism, (what, _) in {**variants(), PEER: ("ComfyUI's sampler in its place", {})}.items():
            cells = [f"**{mechanism}**: {what}"]
            for group in groups:
                ratios = [
                    (row.error + FLOOR * row.scale) / (whole[row.cell].error + FLOOR * row.scale)
                    for row in here
                    if row.group == group and row.without == mechanism
                ]
                cells.append(f"{number(geometric_mean(ratios))}, {number(max(ratios))}" if ratios else "")
            if mechanism != "none":
                body.append(cells)
        lines += [f"## {kind}", "", *table(["without", *groups], body), ""]
    return page(lines)


def main() -> int:
    return write(command.parser("abm", __doc__, budgets=BUDGETS), "abm", Row, measure, report)


if __name__ == "__main__":
    sys.exit(main())
