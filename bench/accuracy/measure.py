"""How far samplers end from the converged solution: python -m bench.accuracy.

Every problem of bench/instruments/problems.py, as sigma-space and as flow model, on several schedules, at equal
numbers of model calls: this pack's samplers in every mode, every stock ComfyUI sampler that can run without
noise, and the peers of bench/instruments/peers.py, all through ComfyUI's own functions. One row a run goes to
bench/results/accuracy.csv as soon as it is made; python -m bench.report turns the rows into tables and plots.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import logging
import math
import statistics
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from devtools.inprocess import pack_module

from .instruments import environment, rows
from .instruments.comfy_model import Bench
from .instruments.environment import RESULTS
from .instruments.peers import PEER, PEERS
from .instruments.problems import NAMES, QUICK_NAMES, Problem, problem
from .instruments.reference import Reference, converge, rms
from .instruments.stock import DETERMINISTIC, SKIPPED, alias_differences, erk_samplers, peers, steps_within, unjudged
from .instruments.tables import WORSE_BY

CSV, QUICK_CSV = RESULTS / "accuracy.csv", RESULTS / "accuracy_quick.csv"

BUDGETS = (8, 12, 16, 24, 32, 64)
QUICK_BUDGETS, QUICK_KINDS = (8, 16, 32), ("eps", "flow")
SCHEDULES = {
    "eps": ("karras", "normal", "simple", "beta", "kl_optimal"),
    "edm": ("karras",),
    "flow": ("simple", "beta", "normal", "kl_optimal"),
    "flow1": ("simple",),
}
"""By kind of model; the first is run for every problem, the others in turn (all of them with --all-schedules)."""

GRID = tuple(itertools.product((0.5, 1.0, 2.0), (0.1, 0.5)))
"""(w_stiff, w_con) among which the mode "paper_tuned" takes the best, together with the preset."""

TUNED = "paper_tuned"


@dataclass(frozen=True)
class Row:
    """One run.

    budget           model calls allowed; ``calls`` were made, in ``steps`` steps
    mode             of this pack's samplers; "stock" for ComfyUI's own, "peer" for bench.peers
    w_stiff, w_con   of mode "paper_tuned": chosen after the fact, with the reference in sight
    mean, median, p90  over the samples, of the RMS distance to the reference
    worse            share of samples further from the reference than the same solver with mode off; NaN for stock
    reference_error  estimated mean error of the reference itself
    """

    problem: str
    kind: str
    schedule: str
    budget: int
    sampler: str
    mode: str
    w_stiff: float
    w_con: float
    steps: int
    calls: int
    mean: float
    median: float
    p90: float
    worse: float
    samples: int
    reference_error: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        return self.problem, self.kind, self.schedule, self.budget, self.sampler, self.mode


def modes() -> tuple[str, ...]:
    """The pack's modes, "off" first: the others are compared with it."""
    known = pack_module("erk").MODES
    return ("off", *(mode for mode in known if mode != "off"))


@cache
def reference(name: str, kind: str, sigma_start: float) -> Reference:
    """The converged solution of a problem from ComfyUI's own start, kept for the next schedule."""
    what = problem(name)
    bench = Bench(what, kind, what.noise())
    start = bench.start(torch.tensor([sigma_start]))
    options = {"breaks": what.breaks(bench.flow), "min_steps": what.min_steps}
    return converge(lambda x, sigma: what.denoise(x, sigma, bench.flow), start, sigma_start, **options)


class Cell:
    """One problem, kind of model, schedule and budget: where samplers are compared."""

    def __init__(self, what: Problem, bench: Bench, schedule: str, budget: int) -> None:
        self.what, self.bench, self.schedule, self.budget = what, bench, schedule, budget
        self._off: dict[str, Tensor] = {}
        # Schedules of different lengths start at the same level up to rounding; all flow models at 1.
        self.reference = reference(
            what.name, "flow" if bench.flow else bench.kind, round(float(bench.sigmas(schedule, 8)[0]), 5)
        )

    def rows(self, sampler: str, wanted: Iterable[str]) -> Iterator[Row]:
        """The runs of one sampler in the wanted modes; none where the budget is too small for it."""
        steps = steps_within(sampler, self.budget)
        if steps < 2:
            return
        for mode in wanted:
            if mode == PEER:
                if self.bench.kind in PEERS[sampler].kinds:
                    yield self._run(sampler, steps, mode, {})[0]
            elif mode == "stock":
                yield self._run(sampler, steps, mode, DETERMINISTIC[sampler])[0]
            elif mode == TUNED:
                yield self._tuned(sampler, steps)
            else:
                yield self._run(sampler, steps, mode, {"mode": mode})[0]

    def errors(self, sampler: str, mode: str) -> Tensor:
        """Error of each sample of one of this pack's samplers, [B]."""
        return self._run(sampler, steps_within(sampler, self.budget), mode, {"mode": mode})[1]

    def _tuned(self, sampler: str, steps: int) -> Row:
        options = [
            {"mode": "paper"},
            *({"mode": "paper", "w_stiff": w_stiff, "w_con": w_con} for w_stiff, w_con in GRID),
        ]
        made = [self._run(sampler, steps, TUNED, option)[0] for option in options]
        return replace(min(made, key=lambda row: row.mean), seconds=sum(row.seconds for row in made))

    def _run(self, sampler: str, steps: int, mode: str, options: dict[str, Any]) -> tuple[Row, Tensor]:
        begin = time.perf_counter()
        function = PEERS[sampler].sample if mode == PEER else sampler
        samples, calls = self.bench.sample(function, self.bench.sigmas(self.schedule, steps), options)
        seconds = time.perf_counter() - begin
        errors = rms(samples.double() - self.reference.samples[: len(samples)]).nan_to_num(math.inf, math.inf)
        worse = math.nan
        if mode == "off":
            self._off[sampler] = errors
            worse = 0.0
        elif mode not in ("stock", PEER):
            if sampler not in self._off:
                self.errors(sampler, "off")
            worse = float((errors > self._off[sampler] * (1 + WORSE_BY) + 1e-6).double().mean())
        row = Row(
            self.what.name,
            self.bench.kind,
            self.schedule,
            self.budget,
            sampler,
            mode,
            options.get("w_stiff", math.nan),
            options.get("w_con", math.nan),
            len(self.bench.sigmas(self.schedule, steps)) - 1,
            calls,
            float(errors.mean()),
            float(errors.quantile(0.5)) if errors.isfinite().all() else float(errors.sort().values[len(errors) // 2]),
            float(errors.sort().values[min(len(errors) - 1, round(0.9 * len(errors)))]),
            worse,
            len(errors),
            float(self.reference.error.mean()),
            seconds,
        )
        if calls > self.budget:
            raise RuntimeError(
                f"{sampler} made {calls} model calls where {self.budget} are allowed: bench.stock counts it wrongly."
            )
        return row, errors


def plan(
    names: Iterable[str], kinds: Iterable[str], all_schedules: bool, first_only: bool
) -> list[tuple[str, str, str]]:
    """(problem, kind, schedule): each problem on its kind's first schedule and, in turn, on one of the others."""
    made = []
    for name in names:
        turn = NAMES.index(name)
        for kind in kinds:
            first, *others = SCHEDULES[kind]
            chosen = others if all_schedules else others[turn % len(others) :][:1] if others else []
            made += [(name, kind, schedule) for schedule in ([first] if first_only else [first, *chosen])]
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a few problems, one schedule a kind, no tuning, into accuracy_quick.csv"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PROBLEM", default=["*"], help="names of problems; * and ? as in file names"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(SCHEDULES), default=list(SCHEDULES))
    parser.add_argument("--budgets", nargs="+", type=int, help="model calls")
    parser.add_argument(
        "--samplers", nargs="+", metavar="NAME", default=["*"], help="names of samplers; * and ? as in file names"
    )
    parser.add_argument("--all-schedules", action="store_true", help="every schedule for every problem")
    parser.add_argument("--no-tuning", action="store_true", help=f"leave out mode {TUNED}, the slowest part")
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that the file has, and make what is missing"
    )
    parser.add_argument("--redo", nargs="+", metavar="MODE", default=[], help="keep all rows but those of these modes")
    parser.add_argument("--output", type=Path, help="the CSV file")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="comfy")
    names = [
        n
        for n in (QUICK_NAMES if options.quick else NAMES)
        if any(fnmatch.fnmatch(n, pattern) for pattern in options.only)
    ]
    if not names:
        parser.error(f"--only {' '.join(options.only)} matches no problem: {', '.join(NAMES)}")
    samplers = [
        n
        for n in (*peers(), *PEERS, *erk_samplers())
        if any(fnmatch.fnmatch(n, pattern) for pattern in options.samplers)
    ]
    kinds = [kind for kind in options.kinds if kind in QUICK_KINDS or not options.quick]
    budgets = options.budgets or (QUICK_BUDGETS if options.quick else BUDGETS)
    cells = plan(names, kinds, options.all_schedules, first_only=options.quick)
    _tell_terms()

    path = options.output or (QUICK_CSV if options.quick else CSV)
    kept = (
        [row for row in rows.read(path, Row) if row.mode not in options.redo] if options.resume or options.redo else []
    )
    done = {row.key for row in kept}
    writer = rows.Writer(path, Row, kept)
    environment.record(path.with_suffix(".json"), _command(options))
    begin, told = time.monotonic(), ""
    for count, (name, kind, schedule) in enumerate(cells):
        what = problem(name)
        bench = Bench(what, kind, what.noise())
        tuning = kind != "flow1" and schedule == SCHEDULES[kind][0] and not options.no_tuning and not options.quick
        for budget in budgets:
            cell = Cell(what, bench, schedule, budget)
            if f"{name} {kind}" != told:
                told = f"{name} {kind}"
                error = cell.reference.error
                print(
                    f"{told}: reference of {cell.reference.steps} RK4 steps, its own error {error.mean():.1e}, at most "
                    f"{error.max():.1e}",
                    file=sys.stderr,
                )
            for sampler in samplers:
                wanted = [PEER] if sampler in PEERS else ["stock"]
                if sampler.startswith("erk_"):
                    wanted = [*modes(), *([TUNED] if tuning else [])]
                missing = [mode for mode in wanted if (name, kind, schedule, budget, sampler, mode) not in done]
                for row in cell.rows(sampler, missing):
                    writer.write(row)
        elapsed = time.monotonic() - begin
        print(f"[{count + 1}/{len(cells)}] {name} {kind} {schedule}, {elapsed:.0f} s", file=sys.stderr)
    print(path)
    return 0


def _command(options: argparse.Namespace) -> str:
    """What makes the same rows from nothing; where they go and what was resumed does not matter."""
    command = ["python -m bench.accuracy"]
    command += [
        f"--{name.replace('_', '-')}" for name in ("quick", "all_schedules", "no_tuning") if getattr(options, name)
    ]
    command += [f"--only {' '.join(options.only)}"] if options.only != ["*"] else []
    command += [f"--samplers {' '.join(options.samplers)}"] if options.samplers != ["*"] else []
    command += [f"--kinds {' '.join(options.kinds)}"] if options.kinds != list(SCHEDULES) else []
    command += [f"--budgets {' '.join(map(str, options.budgets))}"] if options.budgets else []
    return " ".join(command)


def _tell_terms() -> None:
    """Who takes part and who does not, on standard error."""
    print(f"stock samplers: {', '.join(peers())}; peers: {', '.join(PEERS)}", file=sys.stderr)
    for name, reason in SKIPPED.items():
        print(f"  not {name}: {reason}", file=sys.stderr)
    for name, difference in alias_differences().items():
        if difference > 1e-4:
            print(f"  warning: {name} differs from its alias by {difference:.1e}", file=sys.stderr)
    for name in unjudged():
        print(f"  warning: {name} is unknown to bench/instruments/stock.py and not measured", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# For the tests: seconds, not minutes
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """Mean error of a mode over that of mode off, in one cell."""

    problem: str
    kind: str
    sampler: str
    calls: int
    ratio: float
    worse: float


def quick_cells(mode: str = "calibrated", budgets: Iterable[int] = (12, 24)) -> list[Ratio]:
    """The quick problems on each kind's first schedule: one ratio a sampler of this pack. Raises ValueError for an
    unknown mode.
    """
    if mode not in modes():
        raise ValueError(f"There is no mode {mode!r}: the pack has {', '.join(modes())}.")
    made = []
    for name, kind, schedule in plan(QUICK_NAMES, QUICK_KINDS, all_schedules=False, first_only=True):
        what = problem(name)
        bench = Bench(what, kind, what.noise())
        for budget in budgets:
            cell = Cell(what, bench, schedule, budget)
            for sampler in erk_samplers():
                off, guided = cell.rows(sampler, ("off", mode))
                made.append(Ratio(name, kind, sampler, guided.calls, guided.mean / off.mean, guided.worse))
    return made


def quick_ratios(mode: str = "calibrated", budgets: Iterable[int] = (12, 24)) -> dict[tuple[str, str], float]:
    """Geometric mean over the quick problems of mean error, mode / off, by (sampler, "eps" or "flow")."""
    groups: dict[tuple[str, str], list[float]] = {}
    for cell in quick_cells(mode, budgets):
        groups.setdefault((cell.sampler, cell.kind), []).append(cell.ratio)
    return {group: statistics.geometric_mean(ratios) for group, ratios in groups.items()}


if __name__ == "__main__":
    sys.exit(main())
