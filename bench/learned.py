"""A learned network instead of an exact denoiser: python -m bench.learned.

A network's denoiser is not an exact posterior mean, so the converged solution of its ODE is not the best possible
result. What counts is the distance of the samples to the data. This measures both distances on the small network that
bench/make/digits.py trains on scikit-learn's digits. It writes learned.csv, LEARNED.md and the plots into
bench/results/.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .instruments import command, edm, environment, network, plots, rows
from .instruments.comfy_model import Bench
from .instruments.reference import Reference, converge
from .instruments.stock import erk_samplers, modes, peers, runs, steps_within
from .instruments.tables import geometric_mean, number, table, write_page

BUDGETS = (8, 16, 32)
JUDGED = (8, 16)
"""The numbers of model calls in the summary. At 32, nearly everything has converged."""

SCHEDULES = {"edm": "karras", "eps": "karras", "flow": "simple"}
FAMILY = {"edm": "sigma-space, 80 to 0.002", "eps": "sigma-space, 14.6 to 0.029", "flow": "flow, shift 3"}
METRICS = {
    "pixels": "Frechet distance, pixels",
    "features": "Frechet distance, features",
    "sliced": "sliced Wasserstein distance",
}
SHEET = (3, 8)
"""The sample sheet shows this many rows and columns of pictures for each run."""


@dataclass(frozen=True)
class Row:
    """One run.

    mode       the mode of this pack's samplers, or "stock" for ComfyUI's own, "converged" for the reference, "data" for
               two halves of the data
    pixels     squared Frechet distance to the data in pixel space
    features   the same in the classifier's feature space
    sliced     sliced Wasserstein-2 distance in pixel space
    blank      noise: RMS distance from the data's mean over the pixels that are blank in the data
    error      mean RMS distance to the converged solution
    """

    kind: str
    budget: int
    sampler: str
    mode: str
    calls: int
    pixels: float
    features: float
    sliced: float
    blank: float
    error: float

    @property
    def cell(self) -> tuple[str, str, int]:
        return self.kind, self.sampler, self.budget


Sheets = dict[tuple[str, str, str], Tensor]
"""Pictures at the smallest budget, by (kind, sampler, mode)."""


def measure(options: argparse.Namespace, path: Path) -> Sheets:
    """Measure all rows. Each is written as soon as it is made. Returns pictures to look at."""
    denoiser, classifier = network.load()
    exact = network.load()[0].double()
    judge = network.Judge(classifier)
    noise = torch.randn((options.samples, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    writer = rows.Writer(path, Row)
    sheets: Sheets = {}
    writer.write(Row("", 0, "", "data", 0, *judge.floor(), math.nan))
    shown = SHEET[0] * SHEET[1]
    for kind, schedule in SCHEDULES.items():
        bench = Bench(edm.Model(denoiser), kind, noise)
        reference = _reference(exact, bench, schedule)
        print(
            f"{kind}: the reference has {reference.steps} RK4 steps and an error of {reference.error.mean():.1e}",
            file=sys.stderr,
        )
        writer.write(Row(kind, 0, "", "converged", 0, *judge(reference.samples), 0.0))
        sheets[kind, "", "converged"] = reference.samples[:shown].float()
        for budget in options.budgets:
            for sampler, mode, given in runs(modes(), () if options.no_stock else peers()):
                steps = steps_within(sampler, budget)
                if steps < 2:
                    continue
                result, calls = bench.sample(sampler, bench.sigmas(schedule, steps), given)
                error = float(reference.distance(result).mean())
                writer.write(Row(kind, budget, sampler, mode, calls, *judge(result), error))
                if budget == min(options.budgets):
                    sheets[kind, sampler, mode] = result[:shown]
            print(f"{kind}, {budget} calls", file=sys.stderr)
    return sheets


def _reference(denoiser: network.Denoiser, bench: Bench, schedule: str) -> Reference:
    exact = edm.Model(denoiser)
    start = bench.sigmas(schedule, 8)[:1]
    return converge(
        lambda x, sigma: exact.guided(x, sigma, bench.flow), bench.start(start), float(start), tolerance=1e-5
    )


def ratios(made: list[Row], mode: str, metric: str) -> dict[tuple[str, str, int], float]:
    """One column, divided by its value with mode off, by (kind, sampler, budget)."""
    off = {row.cell: getattr(row, metric) for row in made if row.mode == "off"}
    return {row.cell: getattr(row, metric) / off[row.cell] for row in made if row.mode == mode}


def write_report(made: list[Row], path: Path, sentence: str) -> None:
    """LEARNED.md."""
    denoiser, _ = network.load()
    data = next(row for row in made if row.mode == "data")
    converged = ", ".join(f"{row.kind} {_values(row)}" for row in made if row.mode == "converged")
    write_page(
        path,
        [
            "# Accuracy on a learned network",
            "",
            f"{sentence} The network has {edm.weights(denoiser):,} weights and is trained by `python -m "
            "bench.make.digits`.",
            "",
            "The tables show the distance of samples to scikit-learn's digits, divided by the distance with mode off "
            "at equal model calls. They also show this ratio for the mean error to the converged solution. Means are "
            f"geometric means over the solvers at {' and '.join(map(str, JUDGED))} calls. Less is better.",
            "",
            "![ratio](learned_ratio.png)",
            "",
            "## Against the same solver with guidance off",
            "",
            *_by_mode_and_kind(made),
            f"A pixel is blank if the data's standard deviation is below {network.BLANK:g} there. What a sample shows "
            "in it is noise.",
            "",
            *_above(made),
            "## All distances",
            "",
            "Each cell shows: Frechet in pixels / Frechet in features / sliced Wasserstein / noise in blank pixels / "
            "error.",
            "",
            f"Two halves of the data: {_values(data)}. Converged solution: {converged}.",
            "",
            *_details(made),
            "## Samples",
            "",
            "![samples](learned_samples.png)",
        ],
    )


def _guided() -> list[str]:
    return [mode for mode in modes() if mode != "off"]


def _kinds(made: list[Row]) -> list[str]:
    return [kind for kind in SCHEDULES if any(row.kind == kind for row in made)]


def _by_mode_and_kind(made: list[Row]) -> list[str]:
    body = []
    for mode in _guided():
        for kind in [*_kinds(made), ""]:
            columns = []
            for metric in (*METRICS, "blank", "error"):
                by_cell = ratios(made, mode, metric).items()
                values = [v for (k, _, budget), v in by_cell if kind in ("", k) and budget in JUDGED]
                columns += [number(geometric_mean(values)), number(max(values))] if values else ["", ""]
            body.append((f"`{mode}`, {FAMILY.get(kind, '**all**')}", *columns))
    names = (*METRICS.values(), "noise in blank pixels", "error to converged")
    return table(("", *(f"{name}{suffix}" for name in names for suffix in ("", ", worst"))), body)


def _above(made: list[Row], bound: float = 1.02) -> list[str]:
    """The cells in which the main mode takes samples further from the data, and the converged solution's distance."""
    mode = "calibrated" if "calibrated" in modes() else "paper"
    values = {(*row.cell, row.mode): row for row in made}
    body = []
    for metric, name in METRICS.items():
        for (kind, sampler, budget), ratio in ratios(made, mode, metric).items():
            if ratio > bound:
                cells = ((kind, sampler, budget, "off"), (kind, sampler, budget, mode), (kind, "", 0, "converged"))
                told = (f"{getattr(values[cell], metric):.3g}" for cell in cells)
                body.append((f"{kind} {budget} calls {sampler}, {name}", number(ratio), *told))
    return [
        f"### Cells of mode {mode} above {bound:g}: {len(body)}",
        "",
        "If mode off is nearer to the data than the converged solution is, its error happens to point towards the "
        "data. Then a smaller error does not help.",
        "",
        *(table(("", "ratio", "off", mode, "converged solution"), body) if body else []),
    ]


def _values(row: Row) -> str:
    error = "" if math.isnan(row.error) or row.mode == "converged" else f" / {row.error:.3f}"
    return f"{row.pixels:.3g} / {row.features:.3g} / {row.sliced:.3g} / {row.blank:.3f}{error}"


def _details(made: list[Row]) -> list[str]:
    lines, guided = [], _guided()
    samplers = list(dict.fromkeys(row.sampler for row in made if row.mode == "off"))
    cells = {(row.kind, row.budget, row.sampler, row.mode): row for row in made}
    for kind in _kinds(made):
        body = []
        for budget in sorted({row.budget for row in made if row.kind == kind and row.budget}):
            for sampler in samplers:
                columns = [_values(cells[kind, budget, sampler, mode]) for mode in ("off", *guided)]
                body.append((f"{budget} calls, {sampler}", *columns))
            stock = [row for row in made if (row.kind, row.budget, row.mode) == (kind, budget, "stock")]
            if stock:
                best = [
                    f"{metric} {row.sampler} {getattr(row, metric):.3g}"
                    for metric in (*METRICS, "error")
                    for row in [min(stock, key=lambda row: getattr(row, metric))]
                ]
                body.append((f"{budget} calls, best stock", ", ".join(best), *[""] * len(guided)))
        lines += [f"### {FAMILY[kind]}", "", *table(("", "off", *guided), body)]
    return lines


def sample_sheet(sheets: Sheets, budget: int, path: Path) -> None:
    """A picture for people: samples of each mode and the converged ones, from the same initial noise, side by side."""
    kinds = [kind for kind in ("edm", "flow") if (kind, "", "converged") in sheets]
    columns = [mode for mode in ("off", "paper", "calibrated") if any(m == mode for _, _, m in sheets)] + ["converged"]
    lines = [
        (
            f"{sampler}\n{'flow' if kind == 'flow' else 'sigma-space'}",
            [sheets.get((kind, sampler, mode), sheets[kind, "", "converged"]).view(-1, 1, 8, 8) for mode in columns],
        )
        for kind in kinds
        for sampler in erk_samplers()
    ]
    plots.contact_sheet(
        lines, columns, SHEET[1], path, f"The same start noises at {budget} model calls", bounds=(-1.3, 1.3)
    )


def main() -> int:
    parser = command.parser("learned", __doc__, 1000, BUDGETS, stock=True)
    options = parser.parse_args()
    folder = command.begin(options)
    csv, page, plot, pictures = (
        folder / name for name in ("learned.csv", "LEARNED.md", "learned_ratio.png", "learned_samples.png")
    )
    record = csv.with_suffix(".json")
    if not options.report:
        environment.record(record, command.text(parser, options))
        sample_sheet(measure(options, csv), min(options.budgets), pictures)
    made = rows.need(csv, Row)
    write_report(made, page, environment.sentence(record))
    points = [
        plots.Ratio(sampler, mode, FAMILY[kind], budget, value)
        for mode in modes()
        if mode != "off"
        for (kind, sampler, budget), value in ratios(made, mode, "pixels").items()
    ]
    title = "Frechet distance (pixels) of a learned network's samples to the data, equal model calls"
    plots.ratio_by_calls(points, plot, title, "distance, mode / off")
    print(csv, page, plot, pictures, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
