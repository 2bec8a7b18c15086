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

from . import networks, neutral
from .accuracy.measure import reference
from .instruments import command, environment, photo_network, rows, schedule_report
from .instruments.comfy_model import Bench, Predictor
from .instruments.problems import NAMES, problem
from .instruments.reference import Reference, rms
from .instruments.schedule_rows import DATA_SETS, GALAXIES, PHOTOGRAPHS, ErrorRow, Row
from .instruments.score_network import GALAXYGRAD
from .instruments.stock import steps_within
from .photographs.measure import Setting

CSV, ERRORS_CSV = "schedules.csv", "schedules_errors.csv"
SCHEDULES = {"eps": ("karras", "beta", "simple", "kl_optimal"), "flow": ("simple", "beta", "normal", "kl_optimal")}
"""By kind of model; the first is the traced one."""

JUDGED = {"erk_abm": {"mode": "calibrated"}, "dpmpp_2m": {}}
BUDGETS, TRACED_AT = (8, 16), 16
ERROR_BUDGETS = (8, 16, 32)
ERROR_MODES = ("off", "calibrated")
SAMPLES, NETWORK_SAMPLES, TRACED_SAMPLES = 64, 16, 16
"""Judged, of problems and of networks; and in the traced run."""

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
    bench = Bench(what, kind, what.noise(SAMPLES))
    first = round(float(bench.sigmas(SCHEDULES[kind][0], 8)[0]), 5)
    return Case(name, kind, bench, _traced(what, what.shape, kind), reference(name, kind, first, SAMPLES))


def of_data_set(name: str, kind: str) -> Case:
    """One of another project's (bench.neutral)."""
    made = neutral.prepare(name, kind, SAMPLES)
    return Case(name, kind, made.bench, _traced(made.bench.predictor, neutral.Ideal.shape, kind), made.reference)


def of_galaxies(name: str, kind: str) -> Case:
    """One of the networks that others trained (bench.networks), on sigma-space."""
    made = networks.prepare(name, kind, NETWORK_SAMPLES)
    model = made.bench.predictor
    return Case(name, kind, made.bench, _traced(model, model.shape, kind), made.reference)


def of_photographs(name: str, kind: str) -> Case:
    """This project's network of photographs (bench.photographs), with CFG."""
    denoiser, _ = photo_network.load()
    made = Setting(denoiser, kind, PHOTOGRAPHS[name], NETWORK_SAMPLES)
    shape = tuple(made.bench.noise.shape[1:])
    return Case(name, kind, made.bench, _traced(made.bench.predictor, shape, kind), made.reference)


def _traced(model: Predictor, shape: tuple[int, ...], kind: str) -> Bench:
    """The same model with the noises of the traced run."""
    return Bench(model, kind, torch.randn((TRACED_SAMPLES, *shape), generator=torch.Generator().manual_seed(7)))


MAKERS = dict.fromkeys(NAMES, of_problem) | dict.fromkeys(DATA_SETS, of_data_set)
MAKERS |= dict.fromkeys(GALAXIES, of_galaxies) | dict.fromkeys(PHOTOGRAPHS, of_photographs)


def cases(names: list[str]) -> Iterator[Case]:
    for name in names:
        for kind in ("eps",) if name in GALAXIES else SCHEDULES:
            begin = time.monotonic()
            yield MAKERS[name](name, kind)
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
                    # Each sample's is over its own contrast, the true one over that of all.
                    told, contrast = torch.tensor(trace.error), samples.flatten(1).std(1, correction=0)
                    known = told.isfinite()
                    estimate = float((told * contrast)[known].mean() / contrast[known].mean())
                    if 2 * int(known.sum()) <= len(told):
                        estimate = math.nan
                    true = float(_errors(case, samples).mean()) / case.contrast
                    yield ErrorRow(case.name, case.kind, schedule, budget, f"erk_{solver}", mode, estimate, true)


def main() -> int:
    names = tuple(MAKERS)
    parser = command.parser("schedules", __doc__, only=names)
    parser.set_defaults(only=[name for name in names if name not in TOO_SLOW])
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there, and make what is missing")
    options = parser.parse_args()
    folder = command.begin(options)
    path, errors_path = folder / CSV, folder / ERRORS_CSV
    record = path.with_suffix(".json")
    if not options.report:
        kept = (rows.read(path, Row), rows.read(errors_path, ErrorRow)) if options.resume else ([], [])
        done = {row.problem for row in kept[0]}
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
