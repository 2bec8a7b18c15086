"""Whether ERK-Guid adds up with other guidance: python -m bench.combinations.

Exact problems by class, sampled through ComfyUI's own guiders and model patches. Each guidance defines an ODE of its
own; the error is the distance to the converged end point of that very ODE, which is solved through the same guider
in float64. One row a run goes to bench/results/combinations.csv, the tables to COMBINATIONS.md.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from .instruments import command, environment, rows
from .instruments.environment import RESULTS
from .instruments.guidance import COMBINATIONS, Guided
from .instruments.problems import problem
from .instruments.stock import erk_samplers, modes, runs, steps_within
from .instruments.tables import page, share_worse, table

CSV, REPORT = RESULTS / "combinations.csv", RESULTS / "COMBINATIONS.md"
PROBLEMS = ("digits-cfg-2", "mixture-cfg-2")
"""Classed problems; their own CFG scale is not used here."""

KINDS = {"eps": "karras", "flow": "simple"}
BUDGETS = (16, 32)
WORSE = 1.05
HELPED = 0.9
"""What the page's first lines call lowered: the geometric mean over problems, kinds and calls of error over that of
off.
"""

UNREACHED = 0.1
"""A reference whose own error is more than this fraction of the error it is to judge judges nothing."""

FLOORS = {"CFG 4, CFGZeroStar": 1e-3, "PerpNegGuider 4": 1e-3}
"""Noise level below which the reference takes the prediction at this level instead. These two divide by the size of a
prediction's noise part (CFGZeroStar adds 1e-8 to its square, PerpNegGuider adds nothing), so that far below any noise
level a sampler calls them at they answer with their own rounding. What that leaves out of the reference is below
1e-3."""

ENDLESS = {("CFG 4, CFGZeroStar", "eps")}
"""Here the guided prediction does not tend to the state as sigma falls, so that the drift grows as 1/sigma: every
solver at any number of calls ends equally far (6.5 and 1.1) from the reference, which measures no solver."""

MAX_STEPS = {"PerpNegGuider 4": 400}
"""Of the reference, where 1600 would only cost time."""


@dataclass(frozen=True)
class Row:
    """One run; ``mean`` is the mean error of the samples, ``worse`` the share further off than with mode off."""

    combination: str
    problem: str
    kind: str
    budget: int
    sampler: str
    mode: str
    calls: int
    mean: float
    worse: float
    reference_error: float

    @property
    def cell(self) -> tuple[str, str, str, int, str]:
        return self.combination, self.problem, self.kind, self.budget, self.sampler


def measure(combination: str, name: str, kind: str) -> Iterator[Row]:
    guided, guide = Guided(name, kind), COMBINATIONS[combination]
    schedule = KINDS[kind]
    begin = time.monotonic()
    start = float(guided.bench.sigmas(schedule, 8)[0])
    reference = guided.converge(guide(guided), start, FLOORS.get(combination, 0.0), MAX_STEPS.get(combination, 1600))
    error = float(reference.error.mean())
    print(
        f"{combination}, {name}, {kind}: {reference.steps} steps, error {error:.1e}, {time.monotonic() - begin:.0f} s",
        file=sys.stderr,
    )
    for budget in BUDGETS:
        off: dict[str, Tensor] = {}
        for sampler, mode, options in runs(modes()):
            sigmas = guided.bench.sigmas(schedule, steps_within(sampler, budget))
            samples, calls = guided.sample(guide(guided), sampler, sigmas, options)
            errors = reference.distance(samples)
            worse = share_worse(errors, off.setdefault(sampler, errors))
            yield Row(combination, name, kind, budget, sampler, mode, calls, float(errors.mean()), worse, error)


@dataclass(frozen=True)
class Compared:
    """A run with guidance, and the error of the same solver with mode off."""

    row: Row
    off: float

    @property
    def ratio(self) -> float:
        return self.row.mean / self.off


Chosen = Callable[[Row], bool]


def report(measured: Sequence[Row], sentence: str) -> str:
    """COMBINATIONS.md."""
    measured = sorted(measured, key=lambda row: list(COMBINATIONS).index(row.combination))
    usable, unusable = _judged(measured)
    solvers = [name for name in erk_samplers() if any(c.row.sampler == name for c in usable)]
    known = [problem(name).note.split(", CFG")[0] for name in PROBLEMS]
    return page(
        [
            "# ERK-Guid together with other guidance",
            "",
            sentence,
            "",
            f"Problems whose denoiser is known exactly ({'; '.join(known)}), "
            "32 samples each, class by class, as sigma-space (`karras`, 14.6 to 0.03) and as flow models (`simple`, "
            "shift 3), at 16 and 32 calls of the sampler to the model. All guidance is ComfyUI's own, and the error of "
            "a sample is its distance to the converged end point of the same guided ODE, solved through the same "
            "guider in float64. Autoguidance: `DualModelGuider`, the same class on a model of the "
            "data with Gaussians 1.5 times as wide. Below 1: nearer to the end point than the same solver with mode "
            "off.",
            "",
            f"For {' and '.join(FLOORS)} the reference takes the prediction at sigma 0.001 below that level, where "
            "these two guidances answer with their own rounding.",
            "",
            _conclusion(usable),
            "",
            "## Error, mode / off: geometric mean over problems, kinds, solvers and calls",
            "",
            *_by_guidance(measured, usable),
            "## `calibrated` by guidance and solver",
            "",
            "Geometric mean, and the worst cell in brackets.",
            "",
            *_by_guidance_and_solver(usable, solvers),
            "## By solver and calls, over all guidance",
            "",
            *_by_solver_and_calls(usable, solvers),
            f"## Every loss of `calibrated`: cells where its mean error is more than {100 * (WORSE - 1):.0f} % above "
            "that of off",
            "",
            *_losses(usable),
            *_not_judged(unusable),
        ]
    )


def _judged(measured: Sequence[Row]) -> tuple[list[Compared], set[tuple[str, str, str, str]]]:
    """Runs that a reference can judge; and (guidance, problem, kind, why) of those that it cannot."""
    off = {row.cell: row.mean for row in measured if row.mode == "off"}
    usable, unusable = [], set()
    for row in measured:
        base = off[row.cell]
        known = math.isfinite(base) and math.isfinite(row.reference_error) and row.reference_error < UNREACHED * base
        if row.mode == "off":
            continue
        if known and (row.combination, row.kind) not in ENDLESS:
            usable.append(Compared(row, base))
        else:
            why = "endless" if (row.combination, row.kind) in ENDLESS else f"{row.reference_error:.1e}"
            unusable.add((row.combination, row.problem, row.kind, why))
    return usable, unusable


def _mean(usable: Sequence[Compared], chosen: Chosen) -> str:
    ratios = [c.ratio for c in usable if chosen(c.row)]
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-"


def _guided_modes() -> list[str]:
    return [mode for mode in modes() if mode != "off"]


def _by_guidance(measured: Sequence[Row], usable: Sequence[Compared]) -> list[str]:
    lines = []
    for combination in dict.fromkeys(row.combination for row in measured):
        cells = []
        for mode in _guided_modes():
            here = [c for c in usable if (c.row.combination, c.row.mode) == (combination, mode)]
            cells += [_mean(here, lambda row, kind=kind: row.kind == kind) for kind in KINDS]
            worst = max((c.ratio for c in here), default=math.nan)
            above = sum(c.ratio > WORSE for c in here)
            cells += (
                [f"{worst:.2f}" if worst < 1e4 else f"{worst:.0e}", f"{above} of {len(here)}"] if here else ["-", "-"]
            )
        lines.append((combination, *cells))
    columns = ("sigma-space", "flow", "worst cell", f"cells above {WORSE}")
    return table(("guidance", *(f"`{mode}` {column}" for mode in _guided_modes() for column in columns)), lines)


def _by_guidance_and_solver(usable: Sequence[Compared], solvers: Sequence[str]) -> list[str]:
    lines = []
    for combination in dict.fromkeys(c.row.combination for c in usable):
        cells = []
        for sampler in solvers:
            wanted = (combination, sampler, "calibrated")
            here = [c for c in usable if (c.row.combination, c.row.sampler, c.row.mode) == wanted]
            cells.append(f"{_mean(here, lambda _: True)} ({max(c.ratio for c in here):.2f})")
        lines.append((combination, *cells))
    return table(("guidance", *solvers), lines)


def _by_solver_and_calls(usable: Sequence[Compared], solvers: Sequence[str]) -> list[str]:
    lines = []
    for sampler in solvers:
        for budget in BUDGETS:
            means = []
            for mode in _guided_modes():
                wanted = (sampler, budget, mode)
                means.append(_mean(usable, lambda row, wanted=wanted: (row.sampler, row.budget, row.mode) == wanted))
            lines.append((sampler, budget, *means))
    return table(("solver", "calls", *(f"`{mode}`" for mode in _guided_modes())), lines)


def _losses(usable: Sequence[Compared]) -> list[str]:
    lost = [c for c in usable if c.row.mode == "calibrated" and c.ratio > WORSE]
    if not lost:
        return ["None.", ""]
    lines = []
    for c in sorted(lost, key=lambda c: -c.ratio):
        named = (c.row.combination, c.row.problem, c.row.kind, c.row.budget, c.row.sampler)
        lines.append((*named, f"{c.off:.4f}", f"{c.row.mean:.4f}", f"{c.ratio:.2f}"))
    heads = ("guidance", "problem", "kind", "calls", "solver", "off", "calibrated", "ratio")
    return table(heads, lines, "lllrlrrr")


def _not_judged(unusable: set[tuple[str, str, str, str]]) -> list[str]:
    if not unusable:
        return []
    reasons = {
        "endless": "the drift grows as 1/sigma, so the end is where one stops: every solver at any number of calls is "
        "equally far off.",
        "nan": "the reference is not finite: the guidance divides by zero on the way.",
    }
    lines = [
        f"- {combination}, {name}, {kind}: {reasons.get(why, f'the reference itself is only known to {why}.')}"
        for combination, name, kind, why in sorted(unusable)
    ]
    return ["## Not judged", "", *lines]


def _conclusion(usable: Sequence[Compared]) -> str:
    """Under which guidance, and with which solver, the error falls on average and under which it does not."""
    ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for c in usable:
        if c.row.mode == "calibrated":
            ratios[c.row.combination][c.row.sampler].append(c.ratio)
    helped, mixed = [], []
    for combination, by_sampler in ratios.items():
        means = {sampler: statistics.geometric_mean(values) for sampler, values in by_sampler.items()}
        if max(means.values()) < HELPED:
            helped.append(combination)
        else:
            told = ", ".join(f"{sampler} {value:.2f}" for sampler, value in means.items())
            mixed.append(f"Under {combination} it does not: {told}.")
    lowered = (
        f"`calibrated` lowers the mean error of every solver, to below {HELPED} of that of off on average, under "
        f"{'; '.join(helped)}."
    )
    return " ".join([*([lowered] if helped else []), *mixed])


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser("combinations", __doc__, only=COMBINATIONS)
    options = parser.parse_args(arguments)
    folder = command.begin(options)
    csv, written = folder / CSV.name, folder / REPORT.name
    record = csv.with_suffix(".json")
    if not options.report:
        writer = rows.Writer(csv, Row, [row for row in rows.read(csv, Row) if row.combination not in options.only])
        environment.record(record, command.text(parser, options, without=["only"]))
        for combination in options.only:
            for name in PROBLEMS:
                for kind in KINDS:
                    for row in measure(combination, name, kind):
                        writer.write(row)
    written.write_text(report(rows.need(csv, Row), environment.sentence(record)))
    print(csv, written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
