"""Step-distilled students of exact problems: python -m bench.distilled.

This compares mode calibrated with mode off at the student's own number of steps. The error is the distance to the
teacher's end point. The students are those of bench/instruments/students.py: one for which Euler steps between its own
levels are exact, and a consistency student. This writes distilled.csv, DISTILLED.md and the plot into bench/results/.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path

from .instruments import command, comparison, environment, rows
from .instruments.comfy_model import Bench
from .instruments.comparison import Case, Row
from .instruments.environment import RESULTS
from .instruments.problem import Problem
from .instruments.problems import problem
from .instruments.reference import Reference, converge
from .instruments.students import ConsistencyStudent, EulerStudent
from .instruments.tables import table, write_page

CSV = RESULTS / "distilled.csv"
BUDGETS = (4, 8)
PROBLEMS = ("gaussian-rotated", "spiral-0.10", "mixture-8x8", "digits-0.30", "digits-cfg-4")
SCHEDULES = (("eps", "sgm_uniform"), ("eps", "karras"), ("flow", "simple"))
"""(kind of model, ComfyUI's scheduler). Few-step sigma-space models are usually run with sgm_uniform."""
STUDENTS = ("Euler-exact", "consistency")


@functools.cache
def teacher_end(name: str, kind: str, samples: int, start: float) -> Reference:
    """The end point of the teacher's ODE."""
    what = problem(name)
    bench = Bench(what, kind, what.noise(samples))
    first = bench.sigmas("simple", 4)[:1] * 0 + start
    return converge(lambda x, sigma: what.denoise(x, sigma, bench.flow), bench.start(first), start)


def prepare(what: Problem, kind: str, schedule: str, student: str, steps: int, samples: int) -> Case:
    """The case of a student on its own levels."""
    noise = what.noise(samples)
    plain = Bench(what, kind, noise)
    levels = plain.sigmas(schedule, steps)
    model = EulerStudent(what, plain.flow, levels) if student == STUDENTS[0] else ConsistencyStudent(what, plain.flow)
    reference = teacher_end(what.name, kind, samples, round(float(levels[0]), 5))
    return Case(what.name, f"{student}, {schedule}", Bench(model, kind, noise), lambda _steps: levels, reference)


def measure(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    for name in options.only:
        what = problem(name)
        for kind, schedule in SCHEDULES:
            begin = time.monotonic()
            for student in STUDENTS:
                for steps in options.budgets:
                    case = prepare(what, kind, schedule, student, steps, options.samples)
                    for row, _ in case.runs(steps, lambda _sampler, n=steps: n, with_stock=False):
                        writer.write(row)
            print(f"{name}, {kind}, {schedule}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def title_of(row: Row) -> str:
    return f"{row.kind}, {row.schedule}"


def student_of(row: Row) -> str:
    return f"{row.schedule.split(',')[0]}, {row.kind}, {row.budget} steps"


def write_report(made: list[Row], path: Path, sentence: str) -> None:
    """DISTILLED.md."""
    compared = comparison.compare(made)
    write_page(
        path,
        [
            "# Step-distilled students",
            "",
            sentence,
            "",
            "These are students of exact problems, as a perfect distillation would make them. Each student is "
            "computed by solving its teacher's ODE at every call. *Euler-exact*: at each level of the student's own "
            "schedule, an Euler step with its output ends on the teacher's solution at the next level. Between two "
            "levels, the output is that of the upper one. *Consistency*: the output is the end point of the "
            "teacher's ODE from the input. Each solver makes the student's own number of steps on the student's own "
            "levels, with one or two model calls per step. The converged solution is the teacher's end point.",
            "",
            comparison.explain(made),
            "",
            "Plain Euler steps solve the Euler-exact student. One step to 0 solves the consistency student. With more "
            "steps no solver follows the teacher's path, because each output points to the end of the path and not "
            "along it.",
            "",
            "![error ratio](distilled_ratio.png)",
            "",
            "## By student and solver",
            "",
            *comparison.summary(compared, student_of),
            "## By problem and solver",
            "",
            *comparison.summary(compared, lambda row: row.problem),
            *_single_cells(compared),
            *comparison.losses(compared, title_of, "steps"),
        ],
    )


def _single_cells(compared: list[comparison.Comparison]) -> list[str]:
    """The errors with off and with calibrated, divided by the scale, in every cell."""
    solvers = list(dict.fromkeys(c.row.sampler for c in compared))
    cells = {(c.row.cell, c.row.sampler): c for c in compared}
    body = []
    for cell in dict.fromkeys(c.row.cell for c in compared):
        here = [cells[cell, solver] for solver in solvers]
        columns = [f"{c.off.mean / c.off.scale:.3f}, {c.row.mean / c.row.scale:.3f}" for c in here]
        body.append((f"{cell[0]}, {title_of(here[0].row)}, {cell[3]}", *columns))
    return [
        "## Every cell",
        "",
        "The errors with off and with calibrated, divided by the data's scale.",
        "",
        *table(("teacher, model, student, steps", *solvers), body),
    ]


def main() -> int:
    parser = command.parser("distilled", __doc__, 32, BUDGETS, "the students' steps", only=PROBLEMS)
    options = parser.parse_args()
    folder = command.begin(options)
    path, page, plot = (folder / name for name in (CSV.name, "DISTILLED.md", "distilled_ratio.png"))
    record = path.with_suffix(".json")
    if not options.report:
        environment.record(record, command.text(parser, options))
        measure(options, path)
    made = rows.need(path, Row)
    comparison.plot(
        comparison.compare(made),
        lambda row: f"{row.schedule.split(',')[0]}, {row.kind}",
        plot,
        "Error on step-distilled students, at their own steps",
        "steps",
    )
    write_report(made, page, environment.sentence(record))
    print(path, page, plot, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
