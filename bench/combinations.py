"""How well ERK-Guid works together with other guidance: python -m bench.combinations.

Exact problems with classes are sampled through ComfyUI's own guiders and model patches. Each guidance defines its own
ODE. The error is the distance to the converged end point of this ODE, which is solved through the same guider in
float64. This writes one row per run into bench/results/combinations.csv, and the tables into COMBINATIONS.md.
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
"""Problems with classes. Their own CFG scale is not used here."""

KINDS = {"eps": "karras", "flow": "simple"}
BUDGETS = (16, 32)
WORSE = 1.05
HELPED = 0.9
"""The page says that the error is lowered if the mean ratio of the errors, calibrated / off, is below this.

The geometric mean is taken over problems, kinds of model and calls.
"""

UNREACHED = 0.1
"""A reference cannot be used if its own error is above this fraction of the error that it should judge."""

FLOORS = {"CFG 4, CFGZeroStar": 1e-3, "PerpNegGuider 4": 1e-3}
"""The noise level below which the reference uses the prediction at this level instead.

These two divide by the size of the noise in a prediction. CFGZeroStar adds 1e-8 to its square, and PerpNegGuider adds
nothing. So at levels far below those that samplers use, their result is only rounding error. The reference changes by
less than 1e-3 through this.
"""

ENDLESS = {("CFG 4, CFGZeroStar", "eps")}
"""Cells in which the guided prediction does not approach the state as sigma falls, so the drift grows as 1/sigma.

Every solver ends at the same distance from the reference (6.5 and 1.1) at any number of calls, so this does not measure
the solvers.
"""

MAX_STEPS = {"PerpNegGuider 4": 400}
"""The reference's largest number of steps, if 1600 would only cost time."""


@dataclass(frozen=True)
class Row:
    """One run. ``mean`` is the samples' mean error, ``worse`` the share with a larger error than with mode off."""

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
            f"The denoisers of these problems are known exactly ({'; '.join(known)}). There are 32 samples of each, "
            "with the classes in turn, as sigma-space models (`karras`, 14.6 to 0.03) and as flow models (`simple`, "
            "shift 3). The sampler calls the model 16 or 32 times. All guidance is ComfyUI's own. The error of a "
            "sample is its distance to the converged end point of the same guided ODE, which is solved through the "
            "same guider in float64. Autoguidance is `DualModelGuider` with the same class on a model of the data "
            "whose Gaussians are 1.5 times as wide. A ratio below 1 means: nearer to the end point than the same "
            "solver with mode off.",
            "",
            f"For {' and '.join(FLOORS)}, the reference uses the prediction at sigma 0.001 at all lower levels, "
            "because the result of these two guidances is only rounding error there.",
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
            f"## Every loss of `calibrated`: cells in which its mean error is more than {100 * (WORSE - 1):.0f} % "
            "above that of off",
            "",
            *_losses(usable),
            *_not_judged(unusable),
        ]
    )


def _judged(measured: Sequence[Row]) -> tuple[list[Compared], set[tuple[str, str, str, str]]]:
    """The runs that a reference can judge, and (guidance, problem, kind, reason) of those that it cannot judge."""
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


def _guided_modes(usable: Sequence[Compared]) -> list[str]:
    """The modes that were run, without off. A mode may be newer than the rows."""
    return [mode for mode in modes() if any(c.row.mode == mode for c in usable)]


def _by_guidance(measured: Sequence[Row], usable: Sequence[Compared]) -> list[str]:
    lines = []
    for combination in dict.fromkeys(row.combination for row in measured):
        cells = []
        for mode in _guided_modes(usable):
            here = [c for c in usable if (c.row.combination, c.row.mode) == (combination, mode)]
            cells += [_mean(here, lambda row, kind=kind: row.kind == kind) for kind in KINDS]
            worst = max((c.ratio for c in here), default=math.nan)
            above = sum(c.ratio > WORSE for c in here)
            cells += (
                [f"{worst:.2f}" if worst < 1e4 else f"{worst:.0e}", f"{above} of {len(here)}"] if here else ["-", "-"]
            )
        lines.append((combination, *cells))
    columns = ("sigma-space", "flow", "worst cell", f"cells above {WORSE}")
    return table(("guidance", *(f"`{mode}` {column}" for mode in _guided_modes(usable) for column in columns)), lines)


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
            for mode in _guided_modes(usable):
                wanted = (sampler, budget, mode)
                means.append(_mean(usable, lambda row, wanted=wanted: (row.sampler, row.budget, row.mode) == wanted))
            lines.append((sampler, budget, *means))
    return table(("solver", "calls", *(f"`{mode}`" for mode in _guided_modes(usable))), lines)


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
        "endless": "the drift grows as 1/sigma, so there is no end point. Every solver is equally far off at any "
        "number of calls.",
        "nan": "the reference is not finite, because the guidance divides by zero on the way.",
    }
    lines = [
        f"- {combination}, {name}, {kind}: {reasons.get(why, f'the reference itself has an error of {why}.')}"
        for combination, name, kind, why in sorted(unusable)
    ]
    return ["## Not judged", "", *lines]


def _conclusion(usable: Sequence[Compared]) -> str:
    """A sentence about the guidance under which the error falls on average, and about that under which it does not."""
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
            mixed.append(f"It does not under {combination}: {told}.")
    lowered = (
        f"On average, `calibrated` lowers the mean error of every solver to less than {HELPED} times that of off under "
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
