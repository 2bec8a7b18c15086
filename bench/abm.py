"""What each mechanism of the solver abm contributes: python -m bench.abm.

Each is switched off alone, in mode off, on exact problems and on the network of photographs at strengths of CFG and on
noises that did not help to choose any of them. This writes abm.csv and ABM.md into bench/results/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .ablation import FLOOR, LIKE_THE_MODEL, UNLIKE_IT, replaced, write
from .accuracy import Cell
from .instruments import command, crops, edm, photo_network, rows
from .instruments.comfy_model import Bench
from .instruments.problems import problem
from .instruments.tables import geometric_mean, number, page, table

SCHEDULES = {"eps": ("karras", "beta", "simple"), "flow": ("simple", "beta")}
GUIDANCE = (1.0, 5.0, 10.0)
BUDGETS = (8, 12, 16, 24)
PICTURES, LONG_RUN = 24, 200
PEER = "dpmpp_2m"
INTERVALS = ("digits-interval", "line-art-interval")
GROUPS = {"like the model": LIKE_THE_MODEL, "unlike it": UNLIKE_IT, "intervals": INTERVALS}


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
    def cell(self) -> tuple[str, str, str, int]:
        return self.problem, self.kind, self.schedule, self.budget


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """For each mechanism, what happens without it, and the new values of the names in erk/solvers."""
    return {
        "none": ("the solver as it is", {}),
        "steadiness": ("D's changes are followed although D swings", {"abm._steadiness": lambda changes: None}),
        "damping": ("the corrector's move is not damped by how fast it converges", {"abm.DAMPING": 0.0}),
        "the curve's bound": ("what the curve adds to the line is not bounded", {"abm.CURVATURE": 1e9}),
        "the corrector": ("the predictor alone", {"abm.ABM.accept": lambda self, evaluated, history: evaluated}),
    }


def measure(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    for group, names in GROUPS.items():
        for name in names:
            what = problem(name)
            scale = float(what.distribution.deviation)
            for kind, (schedule, *_) in SCHEDULES.items():
                bench = Bench(what, kind, what.noise()[:16])
                for budget in options.budgets:
                    cell = Cell(what, bench, schedule, budget)
                    for mechanism, (_, changes) in variants().items():
                        with replaced("erk.solvers", changes):
                            error = float(cell.errors("erk_abm", "off").mean())
                        writer.write(Row(mechanism, group, name, kind, schedule, budget, error, scale))
                print(f"{name} {kind}", file=sys.stderr)
    for row in _photographs(options.budgets):
        writer.write(row)


def _photographs(budgets: list[int]) -> Iterator[Row]:
    """Against a long run along the same schedule."""
    denoiser, _ = photo_network.load()
    noise = torch.randn((PICTURES, 3, crops.SIZE, crops.SIZE), generator=torch.Generator().manual_seed(4242))
    classes = torch.eye(crops.CLASSES)[torch.arange(PICTURES) % crops.CLASSES]
    for kind, schedules in SCHEDULES.items():
        for cfg in GUIDANCE:
            bench = Bench(edm.Model(denoiser, cfg, classes), kind, noise)
            for schedule in schedules:

                def sample(sampler: str, steps: int, bench: Bench = bench, schedule: str = schedule) -> Tensor:
                    options = {"mode": "off"} if sampler.startswith("erk_") else {}
                    return bench.sample(sampler, bench.sigmas(schedule, steps), options)[0]

                end = sample("erk_deis", LONG_RUN)
                scale = float(end.std())
                for budget in budgets:
                    runs = {PEER: ("", {}), **variants()}
                    for mechanism, (_, changes) in runs.items():
                        with replaced("erk.solvers", changes):
                            found = sample(PEER if mechanism == PEER else "erk_abm", budget)
                        error = float((found - end).square().flatten(1).mean(1).sqrt().mean())
                        yield Row(
                            mechanism, f"CFG {cfg:g}", f"photographs {cfg:g}", kind, schedule, budget, error, scale
                        )
                print(f"photographs, CFG {cfg:g}, {kind}, {schedule}", file=sys.stderr)


def report(made: list[Row], sentence: str) -> str:
    """ABM.md."""
    whole = {row.cell: row for row in made if row.without == "none"}
    firsts = " and ".join(f"{kind} {schedule}" for kind, (schedule, *_) in SCHEDULES.items())
    schedules = "; ".join(f"{kind} {', '.join(names)}" for kind, names in SCHEDULES.items())
    problems = "; ".join(f"{group}: {', '.join(names)}" for group, names in GROUPS.items())
    lines = [
        "# What each mechanism of `abm` contributes",
        "",
        sentence,
        "",
        "The numbers are the error of `erk_abm` in mode off without one mechanism, divided by its error as it is: the "
        f"geometric mean over {', '.join(map(str, sorted({row.budget for row in made})))} calls, and the largest. "
        "Above 1 the mechanism helps. A thousandth of the data's deviation is added to both errors.",
        "",
        f"Exact problems are on one schedule, {firsts}. {problems}. All of them may have helped to choose the "
        "constants.",
        "",
        f"The network of photographs: {PICTURES} pictures on noises that helped to choose nothing, against runs of "
        f"{LONG_RUN} steps of `erk_deis` along the same schedule ({schedules}). Its answers at CFG 7 helped to choose "
        "what `abm` does where D swings; those at CFG 5 and 10 did not.",
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
