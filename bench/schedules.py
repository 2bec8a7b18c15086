"""Schedules planned from one traced run, and how well a run knows its own error: python -m bench.schedules.

Each model is traced once, at 16 calls with `erk_abm` on other noises than those judged, and a schedule is planned for 8
and for 16 steps. Two samplers, `erk_abm` calibrated and ComfyUI's `dpmpp_2m`, then run along it and along ComfyUI's own
schedules. The second part runs all solvers of this pack along ComfyUI's schedules and compares the error that each
run's trace estimates with the true one. Writes schedules.csv, schedules_errors.csv, SCHEDULES.md and the plots.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from devtools.inprocess import pack_module

from .accuracy.measure import reference
from .instruments import command, environment, rows, schedule_report
from .instruments.comfy_model import Bench
from .instruments.problems import NAMES, problem
from .instruments.reference import Reference, rms
from .instruments.schedule_rows import ErrorRow, Row
from .instruments.score_network import GALAXYGRAD
from .instruments.stock import steps_within
from .networks import prepare

CSV, ERRORS_CSV = "schedules.csv", "schedules_errors.csv"
NETWORKS = ("HSC 32", "HSC 64", "ZTF 32")
SCHEDULES = {"eps": ("karras", "beta", "simple", "kl_optimal"), "flow": ("simple", "beta", "normal", "kl_optimal")}
"""By kind of model; the first is the traced one."""

JUDGED = {"erk_abm": {"mode": "calibrated"}, "dpmpp_2m": {}}
BUDGETS, TRACED_AT = (8, 16), 16
ERROR_BUDGETS = (8, 16, 32)
ERROR_MODES = ("off", "calibrated")
SAMPLES = 16
TOO_SLOW = ("line-art-negative", "line-art-interval")
"""Their converged solutions take an hour: left out unless asked for."""


@dataclass(frozen=True)
class Case:
    """A model, the noises that are judged, and where the ODE ends from them."""

    name: str
    kind: str
    bench: Bench
    other: Bench
    found: Reference

    @property
    def contrast(self) -> float:
        return float(self.found.samples.flatten(1).std(1, correction=0).mean())

    def levels(self, schedule: str, steps: int) -> Tensor:
        return self.bench.sigmas(schedule, steps)


def of_problem(name: str, kind: str) -> Case:
    what = problem(name)
    first = round(float(Bench(what, kind, what.noise(1)).sigmas(SCHEDULES[kind][0], 8)[0]), 5)
    found, count = reference(name, kind, first), min(SAMPLES, what.samples)
    found = Reference(found.samples[:count], found.error[:count], found.steps)
    noise = torch.randn((count, *what.shape), generator=torch.Generator().manual_seed(7))
    return Case(name, kind, Bench(what, kind, what.noise()[:count]), Bench(what, kind, noise), found)


def of_network(name: str, kind: str) -> Case:
    """One of the networks that others trained (bench.networks), on sigma-space."""
    made = prepare(name, kind, SAMPLES)
    model = made.bench.predictor
    noise = torch.randn((SAMPLES, *model.shape), generator=torch.Generator().manual_seed(7))
    return Case(name, kind, made.bench, Bench(model, kind, noise), made.reference)


def cases(names: list[str]) -> Iterator[Case]:
    for name in names:
        for kind in ("eps",) if name in NETWORKS else SCHEDULES:
            begin = time.monotonic()
            case = of_network(name, kind) if name in NETWORKS else of_problem(name, kind)
            yield case
            print(f"{name}, {kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def _errors(case: Case, samples: Tensor) -> Tensor:
    return rms(samples.double() - case.found.samples).nan_to_num(math.inf, math.inf)


def planned(case: Case) -> Iterator[Row]:
    """The runs along each schedule."""
    erk: Any = pack_module("erk")
    trace = erk.Trace(keep=True)
    first = SCHEDULES[case.kind][0]
    options = {"mode": "calibrated", "trace": trace}
    case.other.sample("erk_abm", case.other.sigmas(first, TRACED_AT), options)
    begin = time.perf_counter()
    planner = erk.Planner(trace)
    plans = {steps: planner.plan(steps) for steps in BUDGETS}
    seconds = time.perf_counter() - begin
    for budget in BUDGETS:
        plan = plans[budget]
        levels = {name: case.levels(name, budget) for name in SCHEDULES[case.kind]}
        levels["planned"] = torch.tensor(plan.sigmas)
        for name, sigmas in levels.items():
            for sampler, options in JUDGED.items():
                errors = _errors(case, case.bench.sample(sampler, sigmas, options)[0])
                predicted = plan.predicted_error if name == "planned" else math.nan
                yield Row(
                    case.name, case.kind, budget, sampler, name, float(errors.mean()), case.contrast, predicted,
                    plan.given_error, seconds / len(BUDGETS),
                )  # fmt: skip


def estimated(case: Case) -> Iterator[ErrorRow]:
    """What each run's trace says of its own error, and the truth."""
    erk: Any = pack_module("erk")
    for schedule in SCHEDULES[case.kind][:2]:
        for solver in erk.SOLVERS:
            for budget in ERROR_BUDGETS:
                steps = steps_within(f"erk_{solver}", budget)
                for mode in ERROR_MODES if steps >= 4 else ():
                    trace = erk.Trace()
                    sigmas = case.levels(schedule, steps)
                    samples, _ = case.bench.sample(f"erk_{solver}", sigmas, {"mode": mode, "trace": trace})
                    told = [error for error in trace.error if math.isfinite(error)]
                    estimate = sum(told) / len(told) if len(told) * 2 > len(trace.error) else math.nan
                    true = float(_errors(case, samples).mean()) / case.contrast
                    yield ErrorRow(case.name, case.kind, schedule, budget, f"erk_{solver}", mode, estimate, true)


def main() -> int:
    names = (*NAMES, *NETWORKS)
    parser = command.parser("schedules", __doc__, only=names)
    parser.set_defaults(only=[name for name in names if name not in TOO_SLOW])
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there, and make what is missing")
    options = parser.parse_args()
    folder = command.begin(options)
    path, errors_path = folder / CSV, folder / ERRORS_CSV
    record = path.with_suffix(".json")
    if not options.report:
        kept = (rows.read(path, Row), rows.read(errors_path, ErrorRow)) if options.resume else ([], [])
        done = {row.problem for row in kept[1]}
        environment.record(record, command.text(parser, options, without=["resume"]), [GALAXYGRAD])
        writer, errors_writer = rows.Writer(path, Row, kept[0]), rows.Writer(errors_path, ErrorRow, kept[1])
        for case in cases([name for name in options.only if name not in done]):
            for row in planned(case):
                writer.write(row)
            for row in estimated(case):
                errors_writer.write(row)
    made, errors = rows.read(path, Row), rows.read(errors_path, ErrorRow)
    for file in schedule_report.write(made, errors, folder, environment.sentence(record)):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
