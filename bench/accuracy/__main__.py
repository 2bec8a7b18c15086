"""How far samplers end from the converged solution: python -m bench.accuracy.

This runs every problem of bench/instruments/problems.py, as sigma-space and as flow models, on several schedules, at
equal numbers of model calls. The samplers are this pack's in every mode, every stock ComfyUI sampler that can run
without noise, and the peers of bench/instruments/peers.py. They all run through ComfyUI's own functions. Each run is
written as one row into bench/results/accuracy.csv as soon as it is made. With --report, the rows become ACCURACY.md and
its plots.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..instruments import command, environment, rows
from ..instruments.comfy_model import Bench
from ..instruments.environment import RESULTS
from ..instruments.peers import PEER, PEERS
from ..instruments.problems import NAMES, QUICK_NAMES, problem
from ..instruments.stock import SKIPPED, alias_differences, erk_samplers, modes, peers, unjudged
from . import page
from .measure import BUDGETS, QUICK_BUDGETS, QUICK_KINDS, SCHEDULES, TUNED, Cell, Row, plan

CSV, QUICK_CSV = RESULTS / "accuracy.csv", RESULTS / "accuracy_quick.csv"


def arguments() -> argparse.ArgumentParser:
    parser = command.plain_parser("accuracy", __doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few problems, one schedule per kind of model, no tuning; writes accuracy_quick.csv",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PROBLEM", default=["*"], help="names of problems; * and ? work as in file names"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(SCHEDULES), default=list(SCHEDULES))
    parser.add_argument("--budgets", nargs="+", type=int, help="model calls")
    parser.add_argument(
        "--samplers", nargs="+", metavar="NAME", default=["*"], help="names of samplers; * and ? work as in file names"
    )
    parser.add_argument("--all-schedules", action="store_true", help="every schedule for every problem")
    parser.add_argument("--no-tuning", action="store_true", help=f"leave out mode {TUNED}, the slowest part")
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that the file has, and make only the missing ones"
    )
    parser.add_argument(
        "--redo", nargs="+", metavar="MODE", default=[], help="keep all rows except those of these modes"
    )
    parser.add_argument("--output", type=Path, help="the CSV file; the page and the plots are written to its folder")
    return parser


def main(given: list[str] | None = None) -> int:
    parser = arguments()
    options = parser.parse_args(given)
    command.quiet(options.threads)
    path = options.output or (QUICK_CSV if options.quick else CSV)
    record = path.with_suffix(".json")
    if options.report:
        print(*page.write(rows.need(path, Row), path.parent, environment.sentence(record)), sep="\n")
        return 0
    names = _matching(QUICK_NAMES if options.quick else NAMES, options.only)
    if not names:
        parser.error(f"--only {' '.join(options.only)} matches no problem: {', '.join(NAMES)}")
    _tell_terms()
    kept = (
        [row for row in rows.read(path, Row) if row.mode not in options.redo] if options.resume or options.redo else []
    )
    writer = rows.Writer(path, Row, kept)
    environment.record(record, command.text(parser, options, without=("resume", "redo")))
    for row in measure(names, options, done={row.key for row in kept}):
        writer.write(row)
    print(path)
    return 0


def measure(names: Sequence[str], options: argparse.Namespace, done: set[tuple]) -> Iterator[Row]:
    """Make the rows of these problems that are missing."""
    samplers = _matching((*peers(), *PEERS, *erk_samplers()), options.samplers)
    kinds = [kind for kind in options.kinds if kind in QUICK_KINDS or not options.quick]
    budgets = options.budgets or (QUICK_BUDGETS if options.quick else BUDGETS)
    cells = plan(names, kinds, options.all_schedules, first_only=options.quick)
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
                    f"{told}: the reference has {cell.reference.steps} RK4 steps and an error of {error.mean():.1e}, "
                    f"at most {error.max():.1e}",
                    file=sys.stderr,
                )
            for sampler in samplers:
                wanted = [PEER] if sampler in PEERS else ["stock"]
                if sampler.startswith("erk_"):
                    wanted = [*modes(), *([TUNED] if tuning else [])]
                missing = [mode for mode in wanted if (name, kind, schedule, budget, sampler, mode) not in done]
                yield from cell.rows(sampler, missing)
        elapsed = time.monotonic() - begin
        print(f"[{count + 1}/{len(cells)}] {name} {kind} {schedule}, {elapsed:.0f} s", file=sys.stderr)


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def _tell_terms() -> None:
    """Print the samplers that take part and those that do not, on standard error."""
    print(f"stock samplers: {', '.join(peers())}; peers: {', '.join(PEERS)}", file=sys.stderr)
    for name, reason in SKIPPED.items():
        print(f"  without {name}: {reason}", file=sys.stderr)
    for name, difference in alias_differences().items():
        if difference > 1e-4:
            print(f"  warning: {name} differs from its alias by {difference:.1e}", file=sys.stderr)
    for name in unjudged():
        print(
            f"  warning: {name} is not measured, because bench/instruments/stock.py does not know it", file=sys.stderr
        )


if __name__ == "__main__":
    sys.exit(main())
