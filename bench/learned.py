"""A learned network instead of an exact denoiser: python -m bench.learned.

A network's denoiser is not the posterior mean of anything, so the converged solution of its ODE is not
the last word: what counts is how near the samples come to the data. Measured are both, on the small
network that bench/train_network.py trains on scikit-learn's digits. Writes learned.csv, LEARNED.md and
the plots into bench/results/.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .accuracy import modes
from .instruments import distances, edm, environment, network, plots, rows
from .instruments.comfy_model import Bench
from .instruments.data import digit_images
from .instruments.environment import RESULTS
from .instruments.reference import Reference, converge, rms
from .instruments.stock import DETERMINISTIC, erk_samplers, peers, steps_within
from .instruments.tables import geometric_mean, number, table

CSV = RESULTS / "learned.csv"
BUDGETS = (8, 16, 32)
JUDGED = (8, 16)
"""Model calls over which the summary is taken: at 32 nearly everything has converged."""

SCHEDULES = {"edm": "karras", "eps": "karras", "flow": "simple"}
FAMILY = {"edm": "sigma-space, 80 to 0.002", "eps": "sigma-space, 14.6 to 0.029", "flow": "flow, shift 3"}
METRICS = {
    "pixels": "Frechet distance, pixels",
    "features": "Frechet distance, features",
    "sliced": "sliced Wasserstein distance",
}
BLANK = 0.1
"""Pixels whose standard deviation in the data is below this are blank: what a sample has there is noise."""
SHEET = (3, 8)
"""Rows and columns of the pictures that the sample sheet shows of each run."""


@dataclass(frozen=True)
class Row:
    """One run.

    mode       of this pack's samplers; "stock" for ComfyUI's own; "converged" for the reference, "data" for two halves
               of the data
    pixels     squared Frechet distance to the data in pixel space
    features   the same in the classifier's feature space
    sliced     sliced Wasserstein-2 distance in pixel space
    blank      RMS distance from the data's mean over the pixels that are blank in the data: noise
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


class Judge:
    """Distances of samples to the digits."""

    def __init__(self, classifier: network.Classifier) -> None:
        self.classifier = classifier
        self.images = digit_images()[0].float()
        self.blank = self.images.std(0) < BLANK
        self.scale = classifier.features(self.images).std()

    def features(self, images: Tensor) -> Tensor:
        """[B, 64] -> [B, 48], scaled to a standard deviation of 1 over the data."""
        return self.classifier.features(images) / self.scale

    @torch.no_grad()
    def __call__(self, samples: Tensor, data: Tensor | None = None) -> tuple[float, float, float, float]:
        """[B, 64] -> the three METRICS, and the noise in blank pixels."""
        samples, data = samples.float().flatten(1), self.images if data is None else data
        return (
            distances.frechet(samples, data),
            distances.frechet(self.features(samples), self.features(data)),
            distances.sliced_wasserstein(samples, data),
            float((samples - self.images.mean(0))[:, self.blank].square().mean().sqrt()),
        )

    def floor(self) -> tuple[float, float, float, float]:
        """Distance of one half of the data to the other: below it nothing can be told."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))
        half = len(order) // 2
        return self(self.images[order[:half]], self.images[order[half:]])


def measure(
    samples: int, budgets: Iterable[int], with_stock: bool, path: Path
) -> tuple[list[Row], dict[tuple[str, str, str], Tensor]]:
    """All rows, written as they are made; and the pictures at the smallest budget by (kind, sampler, mode)."""
    denoiser, classifier = network.load()
    exact = network.load()[0].double()
    judge = Judge(classifier)
    noise = torch.randn((samples, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    writer = rows.Writer(path, Row)
    made: list[Row] = []
    sheets: dict[tuple[str, str, str], Tensor] = {}

    def keep(row: Row) -> None:
        writer.write(row)
        made.append(row)

    keep(Row("", 0, "", "data", 0, *judge.floor(), math.nan))
    shown = SHEET[0] * SHEET[1]
    for kind, schedule in SCHEDULES.items():
        bench = Bench(edm.Model(denoiser), kind, noise)
        reference = _reference(exact, bench, schedule)
        print(
            f"{kind}: reference of {reference.steps} RK4 steps, its own error {reference.error.mean():.1e}",
            file=sys.stderr,
        )
        keep(Row(kind, 0, "", "converged", 0, *judge(reference.samples), 0.0))
        sheets[kind, "", "converged"] = reference.samples[:shown].float()
        runs = [(sampler, mode, {"mode": mode}) for sampler in erk_samplers() for mode in modes()]
        runs += [(sampler, "stock", DETERMINISTIC[sampler]) for sampler in peers()] if with_stock else []
        for budget in budgets:
            for sampler, mode, options in runs:
                steps = steps_within(sampler, budget)
                if steps < 2:
                    continue
                result, calls = bench.sample(sampler, bench.sigmas(schedule, steps), options)
                error = float(rms(result.double() - reference.samples).mean())
                keep(Row(kind, budget, sampler, mode, calls, *judge(result), error))
                if budget == min(budgets):
                    sheets[kind, sampler, mode] = result[:shown]
            print(f"{kind}, {budget} calls", file=sys.stderr)
    return made, sheets


def _reference(denoiser: network.Denoiser, bench: Bench, schedule: str) -> Reference:
    exact = edm.Model(denoiser)
    start = bench.sigmas(schedule, 8)[:1]
    return converge(
        lambda x, sigma: exact.guided(x, sigma, bench.flow), bench.start(start), float(start), tolerance=1e-5
    )


def ratios(made: list[Row], mode: str, metric: str) -> dict[tuple[str, str, int], float]:
    """Mode over off of one column, by (kind, sampler, budget)."""
    off = {row.cell: getattr(row, metric) for row in made if row.mode == "off"}
    return {row.cell: getattr(row, metric) / off[row.cell] for row in made if row.mode == mode}


def write_report(made: list[Row], path: Path, sentence: str) -> None:
    """LEARNED.md."""
    denoiser, _ = network.load()
    guided = [mode for mode in modes() if mode != "off"]
    data = next(row for row in made if row.mode == "data")
    kinds = [kind for kind in SCHEDULES if any(row.kind == kind for row in made)]
    lines = [
        "# Accuracy on a learned network",
        "",
        f"{sentence} The network: {edm.weights(denoiser):,} weights, trained by `python -m bench.train_network`.",
        "",
        "Distance of samples to scikit-learn's digits, over the distance with mode off at equal model calls; and the "
        "same ratio of the mean error to the converged solution. Geometric means over the solvers at "
        f"{' and '.join(map(str, JUDGED))} calls; less is better.",
        "",
        "![ratio](learned_ratio.png)",
        "",
        "## Against the same solver with guidance off",
        "",
    ]
    body = []
    for mode in guided:
        for kind in [*kinds, ""]:
            columns = []
            for metric in (*METRICS, "blank", "error"):
                values = [
                    v
                    for (k, _, budget), v in ratios(made, mode, metric).items()
                    if kind in ("", k) and budget in JUDGED
                ]
                columns += [number(geometric_mean(values)), number(max(values))] if values else ["", ""]
            body.append((f"`{mode}`, {FAMILY.get(kind, '**all**')}", *columns))
    heads = [
        f"{head}{suffix}"
        for head in (*METRICS.values(), "noise in blank pixels", "error to converged")
        for suffix in ("", ", worst")
    ]
    lines += table(("", *heads), body)
    lines += [
        f"A pixel is blank where the data's standard deviation is below {BLANK:g}; there a sample shows nothing but "
        f"noise.",
        "",
        *_above(made),
        "## All distances",
        "",
        "Per cell: Frechet in pixels / Frechet in features / sliced Wasserstein / noise in blank pixels / error.",
        "",
    ]
    lines += [
        f"Two halves of the data: {_values(data)}. Converged solution: "
        + ", ".join(
            f"{kind} {_values(row)}" for kind in kinds for row in made if row.kind == kind and row.mode == "converged"
        )
        + ".",
        "",
    ]
    lines += _details(made, kinds, guided)
    lines += ["## Samples", "", "![samples](learned_samples.png)"]
    path.write_text("\n".join(line.rstrip() for line in lines).rstrip() + "\n")


def _above(made: list[Row], bound: float = 1.02) -> list[str]:
    """Where the headline mode takes samples further from the data, with the distance that the converged solution
    has.
    """
    mode = "calibrated" if "calibrated" in modes() else "paper"
    values = {(*row.cell, row.mode): row for row in made}
    body = []
    for metric, name in METRICS.items():
        for (kind, sampler, budget), ratio in ratios(made, mode, metric).items():
            if ratio > bound:
                kept = (
                    values[kind, sampler, budget, "off"],
                    values[kind, sampler, budget, mode],
                    values[kind, "", 0, "converged"],
                )
                body.append(
                    (
                        f"{kind} {budget} calls {sampler}, {name}",
                        number(ratio),
                        *(f"{getattr(row, metric):.3g}" for row in kept),
                    )
                )
    return [
        f"### Cells of mode {mode} above {bound:g}: {len(body)}",
        "",
        "Where mode off is nearer to the data than the converged solution, its error happens to point there, and a "
        "smaller error cannot win.",
        "",
        *(table(("", "ratio", "off", mode, "converged solution"), body) if body else []),
    ]


def _values(row: Row) -> str:
    error = "" if math.isnan(row.error) or row.mode == "converged" else f" / {row.error:.3f}"
    return f"{row.pixels:.3g} / {row.features:.3g} / {row.sliced:.3g} / {row.blank:.3f}{error}"


def _details(made: list[Row], kinds: list[str], guided: list[str]) -> list[str]:
    lines = []
    cells = {(row.kind, row.budget, row.sampler, row.mode): row for row in made}
    for kind in kinds:
        body = []
        for budget in sorted({row.budget for row in made if row.kind == kind and row.budget}):
            for sampler in erk_samplers():
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


def sample_sheet(sheets: dict[tuple[str, str, str], Tensor], budget: int, path: Path) -> None:
    """The same start noises in each mode and converged, side by side, for people to look at."""
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


def _command(options: argparse.Namespace) -> str:
    command = f"python -m bench.learned --samples {options.samples}"
    command += f" --budgets {' '.join(map(str, options.budgets))}" if tuple(options.budgets) != BUDGETS else ""
    return command + (" --no-stock" if options.no_stock else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000, help="samples a run")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="model calls")
    parser.add_argument("--no-stock", action="store_true", help="leave out ComfyUI's own samplers")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="comfy")
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    csv = folder / CSV.name
    environment.record(csv.with_suffix(".json"), _command(options))
    made, sheets = measure(options.samples, options.budgets, not options.no_stock, csv)
    write_report(made, folder / "LEARNED.md", environment.sentence(csv.with_suffix(".json")))
    points = [
        plots.Ratio(sampler, mode, FAMILY[kind], budget, value)
        for mode in modes()
        if mode != "off"
        for (kind, sampler, budget), value in ratios(made, mode, "pixels").items()
    ]
    plots.ratio_by_calls(
        points, folder / "learned_ratio.png", "Frechet distance (pixels) of a learned network's samples to the data, "
            "equal model calls",
        "distance, mode / off",
    )  # fmt: skip
    sample_sheet(sheets, min(options.budgets), folder / "learned_samples.png")
    for name in ("learned.csv", "LEARNED.md", "learned_ratio.png", "learned_samples.png"):
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
