"""NOISE.md and its plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..instruments import plots
from ..instruments.tables import geometric_mean, number, ratio, table, write_page

DIGITS = "digits network"

TUNED = (
    "gaussian-round", "gaussian-rotated", "mixture-8x8", "digits-0.30", "spiral-0.10", "mixture-3x16x16", "gratings",
    "tree-0.10", "digits-0.10", "even-colour",
    "HSC 32", "ZTF 32", "photographs, CFG 3", "photographs, CFG 7",
)  # fmt: skip
"""Helped to choose the rule or its constants; the others helped to choose nothing."""

BASE = "euler_ancestral"
ON_NETWORKS = (
    "euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde", "seeds_2", "sa_solver",
)  # fmt: skip
"""ComfyUI's samplers that run on networks, too."""

OURS = {"erk_euler_ancestral": "euler_ancestral", "erk_dpmpp_2s_ancestral": "dpmpp_2s_ancestral"}
"""And ComfyUI's sampler of that name."""

BOUND = 1.05
METRICS = {"sliced": "sliced Wasserstein", "frechet": "Frechet"}


@dataclass(frozen=True)
class Row:
    """One run.

    sliced    sliced Wasserstein-2 distance to the data (photographs: of patches to held-out crops)
    frechet   squared Frechet distance (photographs: in the classifier's features); NaN above 256 dimensions
    variance  total variance over that of the data; NaN for photographs
    """

    problem: str
    kind: str
    budget: int
    sampler: str
    mode: str
    calls: int
    sliced: float
    frechet: float
    variance: float

    @property
    def cell(self) -> tuple[str, str, int]:
        return self.problem, self.kind, self.budget


Cells = dict[tuple[str, str, int], dict[tuple[str, str], Row]]


def photographs_at(cfg: float) -> str:
    return "photographs" if cfg == 1 else f"photographs, CFG {cfg:g}"


def family(problem: str) -> str:
    if problem.startswith("photographs, CFG"):
        return "photographs, CFG"
    if problem.split()[0] in ("HSC", "ZTF") or problem in (DIGITS, photographs_at(1)):
        return "networks, tuned" if problem in TUNED else "networks, held out"
    return "exact, tuned" if problem in TUNED else "exact, held out"


def cells_of(made: Iterable[Row]) -> Cells:
    cells: Cells = {}
    for row in made:
        cells.setdefault(row.cell, {})[row.sampler, row.mode] = row
    return cells


def ratios(cells: Cells, sampler: str, base: str, metric: str, wanted: Callable[[tuple], bool]) -> list[float]:
    """Calibrated over ComfyUI's sampler ``base``, in the cells that are wanted."""
    values = []
    for cell, rows in cells.items():
        ours, stock = rows.get((sampler, "calibrated")), rows.get((base, "stock"))
        if wanted(cell) and ours and stock and math.isfinite(getattr(stock, metric)):
            values.append(ratio(getattr(ours, metric), getattr(stock, metric)))
    return values


def _means(cells: Cells, sampler: str, base: str) -> list[str]:
    body = []
    for name in dict.fromkeys(family(cell[0]) for cell in cells):
        for budget in sorted({cell[2] for cell in cells}):
            columns = []
            for metric in METRICS:
                values = ratios(
                    cells, sampler, base, metric, lambda c, n=name, b=budget: family(c[0]) == n and c[2] == b
                )
                columns += [number(geometric_mean(values)), number(max(values))] if values else ["", ""]
            if any(columns):
                body.append((f"{name}, {budget} calls", *columns))
    heads = ("", *(f"{title}{suffix}" for title in METRICS.values() for suffix in ("", ", worst")))
    return table(heads, body)


def _above(cells: Cells, sampler: str, base: str) -> list[str]:
    body = []
    for cell, rows in cells.items():
        for metric, title in METRICS.items():
            ours, stock = rows.get((sampler, "calibrated")), rows.get((base, "stock"))
            if not (ours and stock and math.isfinite(getattr(stock, metric))):
                continue
            if (value := ratio(getattr(ours, metric), getattr(stock, metric))) > BOUND:
                shown = (f"{getattr(row, metric):.3g}" for row in (stock, ours))
                body.append((value, (f"{cell[0]}, {cell[1]}, {cell[2]} calls: {title}", number(value), *shown)))
    body.sort(key=lambda line: -line[0])
    return table(("", "ratio", base, sampler), [line for _, line in body]) if body else ["None.", ""]


def stochastic(rows: dict[tuple[str, str], Row]) -> list[Row]:
    """Stock samplers that add noise, and ours in mode calibrated, best first."""
    known = [row for (name, mode), row in rows.items() if mode == "stock" or (name in OURS and mode == "calibrated")]
    return sorted(known, key=lambda row: row.sliced if math.isfinite(row.sliced) else math.inf)


def _races(cells: Cells) -> list[str]:
    body = []
    for name in (*dict.fromkeys(family(cell[0]) for cell in cells), "all"):
        here = [rows for cell, rows in cells.items() if name in ("all", family(cell[0]))]
        first = [stochastic(rows)[0].sampler for rows in here]
        near = [
            min(row.sliced for row in stochastic(rows) if row.sampler in OURS) / stochastic(rows)[0].sliced
            for rows in here
        ]
        wins = {sampler: first.count(sampler) for sampler in dict.fromkeys(first)}
        others = sorted(((n, s) for s, n in wins.items() if s not in OURS), reverse=True)
        body.append(
            (
                name, len(here), sum(wins.get(sampler, 0) for sampler in OURS), sum(value <= 1.05 for value in near),
                ", ".join(f"{s} {n}" for n, s in others[:4]),
            )
        )  # fmt: skip
    return table(("", "cells", "ours first", "ours within 5 % of the first", "others first"), body, "lrrrl")


def standing(cells: Cells, wanted: Callable[[tuple], bool]) -> dict[tuple[str, str], float]:
    """Of each sampler, its distance over that of the best one with noise in the cell: geometric mean."""
    over: dict[tuple[str, str], list[float]] = {}
    here = [rows for cell, rows in cells.items() if wanted(cell)]
    for rows in here:
        for key, row in rows.items():
            over.setdefault(key, []).append(ratio(row.sliced, stochastic(rows)[0].sliced))
    return {key: geometric_mean(values) for key, values in over.items() if len(values) == len(here)}


def _standings(cells: Cells) -> list[str]:
    budgets = sorted({cell[2] for cell in cells})
    by_budget = [standing(cells, lambda c, b=b: family(c[0]).startswith("exact") and c[2] == b) for b in budgets]
    keys = sorted({key for values in by_budget for key in values}, key=lambda k: by_budget[0].get(k, math.inf))
    body = [
        (name if mode == "stock" else f"**{name}, {mode}**", *(number(values.get((name, mode), math.nan))
        for values in by_budget))
        for name, mode in keys
    ]  # fmt: skip
    return table(("", *(f"{budget} calls" for budget in budgets)), body)


def _cells(cells: Cells) -> list[str]:
    body = []
    for cell, rows in cells.items():
        ours = [rows.get(key) for name in OURS for key in ((OURS[name], "stock"), (name, "calibrated"))]
        best = next(row for row in stochastic(rows) if row.sampler not in OURS)
        plain = [row for (name, mode), row in rows.items() if mode == "calibrated" and name not in OURS]
        free = min(plain, key=lambda row: row.sliced)
        named = (f"{row.sampler} {row.sliced:.3g}" for row in (best, free))
        body.append(
            (f"{cell[0]}, {cell[1]}, {cell[2]}", *("" if r is None else f"{r.sliced:.3g}" for r in ours), *named)
        )
    heads = ("problem, model, calls", "euler_ancestral", "calibrated", "dpmpp_2s_ancestral", "calibrated")
    return table((*heads, "best stock with noise", "best of ours without"), body, "lrrrrll")


def _gaussian(cells: Cells) -> list[str]:
    body = []
    for cell, rows in cells.items():
        if cell[0] == "gaussian-round":
            values = (rows.get(key) for name in OURS for key in ((OURS[name], "stock"), (name, "calibrated")))
            body.append((f"{cell[1]}, {cell[2]} calls", *("" if r is None else f"{r.variance:.3f}" for r in values)))
    heads = ("", *(title for name in OURS for title in (OURS[name], f"{name}, calibrated")))
    return table(heads, body) if body else []


def page(made: Sequence[Row], sentence: str) -> list[str]:
    """NOISE.md."""
    cells = cells_of(made)
    tuned = [name for name in TUNED if any(row.problem == name for row in made)]
    return [
        "# Samplers that add noise",
        "",
        sentence,
        "",
        "How near the samples come to the data, at equal model calls: sliced Wasserstein distance, and squared Frechet "
        "distance of means and covariances. A ratio below 1 is better than ComfyUI's sampler. Means of ratios are "
        "geometric. Exact problems have samples of the data. The networks of galaxygrad (HSC, ZTF) have samples of a "
        "run of euler_ancestral with 100 steps that starts at the same level, this repository's networks have digits "
        "and held-out crops of photographs (patches and features). Under CFG, guidance itself moves the samples away "
        "from the data. Mode off equals ComfyUI's sampler of that name, and is not run. Sigma-space models "
        "use the scheduler karras, flow models simple with a shift of 3. Stock samplers run at their defaults.",
        "",
        f"These helped to choose the rule: {'; '.join(tuned)}. The others are held out; tree-0.05 and spiral-0.05 "
        "are narrower versions of two that helped.",
        "",
        "A finite number of samples leaves a distance too: where two samplers are both near to it, their ratio is 1.",
        "",
        "![ratio](noise_ratio.png)",
        "",
        "## Over euler_ancestral: erk_euler_ancestral, calibrated",
        "",
        *_means(cells, "erk_euler_ancestral", BASE),
        f"Cells above {BOUND:g}:",
        "",
        *_above(cells, "erk_euler_ancestral", BASE),
        "## Over dpmpp_2s_ancestral: erk_dpmpp_2s_ancestral, calibrated",
        "",
        *_means(cells, "erk_dpmpp_2s_ancestral", "dpmpp_2s_ancestral"),
        f"Cells above {BOUND:g}:",
        "",
        *_above(cells, "erk_dpmpp_2s_ancestral", "dpmpp_2s_ancestral"),
        "## Who is first",
        "",
        "Among all samplers that add noise, by sliced Wasserstein distance. On networks, which take long, these are "
        f"{', '.join(sorted(ON_NETWORKS))}.",
        "",
        *_races(cells),
        "On the exact problems, the distance of each sampler over that of the first in the cell; our samplers without "
        "noise are below 1 where they are nearer than all with noise.",
        "",
        *_standings(cells),
        "## A Gaussian of one variance",
        "",
        "Its total variance over that of the data: 1 is right.",
        "",
        *_gaussian(cells),
        "## Every cell",
        "",
        "Sliced Wasserstein distance.",
        "",
        *_cells(cells),
    ]


def plot(made: Sequence[Row], path: Path) -> None:
    """Geometric means over the cells of a family, by model calls."""
    cells = cells_of(made)
    families = list(dict.fromkeys(family(cell[0]) for cell in cells))
    budgets = sorted({cell[2] for cell in cells})
    figure, axes = plots.new_figure(3.1 * len(families), 3.2, len(families), sharey=True)
    values: list[float] = [1.0]
    for ax, name in zip(axes, families, strict=True):
        for (sampler, base), colour, marker in zip(
            ((ours, base) for ours in OURS for base in [OURS[ours]]), plots.COLOURS, plots.MARKERS, strict=False
        ):
            points, shown = [], sorted({cell[2] for cell in cells if family(cell[0]) == name})
            for budget in shown:
                found = ratios(
                    cells, sampler, base, "sliced", lambda c, b=budget, n=name: (family(c[0]), c[2]) == (n, b)
                )
                points.append(geometric_mean(found) if found else math.nan)
            values += [value for value in points if math.isfinite(value)]
            ax.plot(shown, points, color=colour, marker=marker, label=sampler)
        ax.axhline(1.0, color=plots.INK, linewidth=0.8)
        ax.set_title(name, color=plots.INK, fontsize=9)
        plots.calls_axis(ax, budgets)
    for ax in axes:
        plots.ratio_axis(ax, min(values) / 1.1, max(values) * 1.1)
    axes[0].set_ylabel("distance, calibrated / ComfyUI's", color=plots.INK)
    axes[0].legend(fontsize=7, frameon=False)
    plots.save(figure, path)


def write(made: Sequence[Row], folder: Path, sentence: str) -> list[Path]:
    """The page and the plot."""
    write_page(folder / "NOISE.md", page(made, sentence))
    plot(made, folder / "noise_ratio.png")
    return [folder / "NOISE.md", folder / "noise_ratio.png"]


def overall(made: Iterable[Row], budget: int, metric: str = "sliced") -> float:
    """Geometric mean over all exact cells of erk_euler_ancestral over euler_ancestral."""
    cells = cells_of(made)
    wanted = [c for c in cells if family(c[0]).startswith("exact") and c[2] == budget]
    return statistics.geometric_mean(ratios(cells, "erk_euler_ancestral", BASE, metric, lambda c: c in wanted))
