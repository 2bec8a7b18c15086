"""Writes PHOTOGRAPHS.md and its plot from the rows, and the sheets of pictures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..instruments import crops, edm, photo_network, plots
from ..instruments.tables import WORSE_BY, geometric_mean, number, percent, ratio, table, write_page
from .judge import FLAT, PATCH
from .measure import FAMILY, GUIDANCE, PEERS, SCHEDULES, SHOWN_BUDGETS, SHOWN_GUIDANCE, Row, Sheets

METRICS = {"error": "error", "features": "Frechet", "patches": "sliced Wasserstein"}
BOUND = 1.05
"""Cells above this ratio are listed."""


def write(made: list[Row], flat_share: float, samples: int, folder: Path, sentence: str) -> list[Path]:
    """Write the page and the plot into a folder. Returns their paths."""
    paths = [folder / "PHOTOGRAPHS.md", folder / "photographs_ratio.png"]
    write_page(paths[0], page(made, flat_share, samples, sentence))
    points = [
        plots.Ratio(row.sampler, "calibrated", FAMILY[row.kind], row.budget, ratio(row.error, off.error))
        for row, off in pairs(made)
    ]
    title = "Error on a network of photographs, CFG 1, 3 and 7, equal model calls"
    plots.ratio_by_calls(points, paths[1], title, "error, calibrated / off")
    return paths


def page(made: list[Row], flat_share: float, samples: int, sentence: str) -> list[str]:
    """The lines of PHOTOGRAPHS.md."""
    denoiser, _ = photo_network.load()
    data = next(row for row in made if row.mode == "data")
    first = min(row.budget for row in made if row.budget)
    return [
        "# Photographs",
        "",
        f"{sentence} The network is a U-Net with {edm.weights(denoiser):,} weights. It is trained by `python -m "
        f"bench.make.photographs` on 32 x 32 crops of {crops.CLASSES} photographs. The class of a crop is its "
        f"photograph. Each run has {samples} samples.",
        "",
        f"The photographs are in the wheels of scikit-image {crops.SCIKIT_IMAGE.version} (astronaut, Chelsea the cat, "
        "coffee, rocket, Middlebury's motorcycle, Hubble's deep field) and of scikit-learn (China by danielbuechele, a "
        "flower by vultilion, both CC BY 2.0). This repository contains none of them.",
        "",
        "- Error: the mean RMS distance to the converged solution of the sampling ODE, including CFG. "
        "Pixels are in [-1, 1].",
        "- Frechet: the squared Frechet distance to 4000 held-out crops in the feature space of a classifier of the "
        "photographs. These crops are cut at scales that training never saw.",
        f"- Sliced Wasserstein: the distance of {PATCH} x {PATCH} patches to those of 1000 of these crops.",
        "- Noise: the RMS difference of a pixel in flat places from its 3 x 3 mean, divided by that of the converged "
        f"picture. A place is flat if the converged picture differs by less than {FLAT:g} from that mean within two "
        f"pixels. {percent(flat_share)} of the pixels are flat.",
        f"- Made worse: the share of samples whose error grew by more than {WORSE_BY:.1%} compared with mode off.",
        "",
        "Ratios are calibrated divided by off, for the same solver at equal calls. Their means over solvers are "
        "geometric. Less is better.",
        "",
        "![ratio](photographs_ratio.png)",
        "",
        *_by_model(
            made, f"Compared with the same solver with guidance off, {first} calls", lambda row: row.budget == first
        ),
        *_by_model(made, "The same, all numbers of calls", lambda _: True),
        *_by_solver(made, first),
        *_above(made),
        *_against_stock(made),
        "## Pictures",
        "",
        f"From the same initial noise, at {' and '.join(map(str, SHOWN_BUDGETS))} calls, with one column for each "
        "class.",
        "",
        *(line for kind in SCHEDULES for line in (f"![{FAMILY[kind]}](photographs_{kind}.png)", "")),
        "## All runs",
        "",
        "Each cell shows: error / Frechet / sliced Wasserstein / noise.",
        "",
        f"For comparison, equally many other held-out crops have: Frechet {data.features:.3g}, sliced Wasserstein "
        f"{data.patches:.3g}.",
        "",
        *_details(made),
    ]


Pair = tuple[Row, Row]
"""A run of mode calibrated, and the same with mode off."""


def pairs(made: Iterable[Row]) -> list[Pair]:
    made = list(made)
    off = {row.cell: row for row in made if row.mode == "off"}
    return [(row, off[row.cell]) for row in made if row.mode == "calibrated"]


def _ratios(compared: Iterable[Pair], metric: str) -> list[float]:
    return [ratio(getattr(row, metric), getattr(off, metric)) for row, off in compared]


def _columns(compared: Sequence[Pair]) -> list[str]:
    columns = []
    for metric in METRICS:
        values = _ratios(compared, metric)
        columns += [number(geometric_mean(values)), number(max(values))]
    noise = [
        f"{number(geometric_mean(values))}, at most {number(max(values))}"
        for values in zip(*_noise(compared), strict=True)
    ]
    return [*columns, percent(statistics.fmean(row.worse for row, _ in compared)), *noise]


def _noise(compared: Iterable[Pair]) -> list[tuple[float, float]]:
    return [(off.grain, row.grain) for row, off in compared]


_HEADS = [f"{name}{suffix}" for name in METRICS.values() for suffix in ("", ", worst")]
_HEADS += ["made worse", "noise, off", "noise, calibrated"]


def _by_model(made: list[Row], title: str, wanted: Callable[[Row], bool]) -> list[str]:
    compared = [pair for pair in pairs(made) if wanted(pair[0])]
    body = []
    for kind in SCHEDULES:
        for cfg in GUIDANCE:
            here = [pair for pair in compared if (pair[0].kind, pair[0].cfg) == (kind, cfg)]
            body += [(f"{FAMILY[kind]}, CFG {cfg:g}", *_columns(here))] if here else []
    body.append(("**all**", *_columns(compared)))
    return [f"## {title}", "", *table(("", *_HEADS), body)]


def _by_solver(made: list[Row], first: int) -> list[str]:
    compared = [pair for pair in pairs(made) if pair[0].budget == first]
    samplers = dict.fromkeys(row.sampler for row, _ in compared)
    body = [(sampler, *_columns([pair for pair in compared if pair[0].sampler == sampler])) for sampler in samplers]
    return [f"## By solver, {first} calls", "", *table(("", *_HEADS), body)]


def _above(made: list[Row]) -> list[str]:
    compared = pairs(made)
    converged = {(row.kind, row.cfg): row for row in made if row.mode == "converged"}
    body = []
    for metric, name in METRICS.items():
        for value, (row, off) in zip(_ratios(compared, metric), compared, strict=True):
            if value > BOUND:
                shown = (getattr(run, metric) for run in (off, row, converged[row.kind, row.cfg]))
                cell = f"{row.kind}, CFG {row.cfg:g}, {row.budget} calls, {row.sampler}: {name}"
                body.append((value, (cell, number(value), *(f"{v:.3g}" for v in shown))))
    body.sort(key=lambda line: -line[0])
    return [
        f"## Cells above {BOUND:g}: {len(body)} of {len(METRICS) * len(compared)}",
        "",
        *(
            table(("", "ratio", "off", "calibrated", "converged"), [line for _, line in body])
            if body
            else ["None.", ""]
        ),
    ]


def _against_stock(made: list[Row]) -> list[str]:
    body = []
    for kind, cfg, budget in dict.fromkeys((row.kind, row.cfg, row.budget) for row in made if row.budget):
        here = [row for row in made if (row.kind, row.cfg, row.budget) == (kind, cfg, budget)]
        best = [
            min((row for row in here if row.mode == mode), key=lambda row: row.error)
            for mode in ("calibrated", "stock")
        ]
        named = (f"{row.sampler} {row.error:.3g}" for row in best)
        body.append((f"{kind}, CFG {cfg:g}, {budget} calls", *named, number(ratio(best[0].error, best[1].error))))
    return [
        "## Against ComfyUI's samplers",
        "",
        f"The smallest error of this pack's samplers, calibrated, is compared with the smallest of {', '.join(PEERS)}, "
        "at equal calls.",
        "",
        *table(("", "ours", "stock", "ratio"), body),
    ]


def _details(made: list[Row]) -> list[str]:
    lines = []
    cells = {(row.kind, row.cfg, row.budget, row.sampler, row.mode): row for row in made}
    budgets = sorted({row.budget for row in made if row.budget})
    for kind in SCHEDULES:
        for cfg in GUIDANCE:
            body = []
            for sampler, mode in dict.fromkeys((row.sampler, row.mode) for row in made if row.budget):
                found = [cells.get((kind, cfg, budget, sampler, mode)) for budget in budgets]
                name = sampler if mode == "stock" else f"{sampler}, {mode}"
                body.append((name, *("" if row is None else _values(row) for row in found)))
            end = cells[kind, cfg, 0, "", "converged"]
            lines += [
                f"### {FAMILY[kind]}, CFG {cfg:g}",
                "",
                f"Converged: Frechet {end.features:.3g}, sliced Wasserstein {end.patches:.3g}.",
                "",
                *table(("", *(f"{budget} calls" for budget in budgets)), body),
            ]
    return lines


def _values(row: Row) -> str:
    return f"{row.error:.3g} / {row.features:.3g} / {row.patches:.3g} / {row.grain:.2f}"


def write_sheets(sheets: Sheets, folder: Path) -> list[Path]:
    """For each kind of model, draw the samples of several samplers from the same noise, one column for each class."""
    columns = [f"CFG {cfg:g}" for cfg in SHOWN_GUIDANCE]
    paths = []
    for kind in SCHEDULES:
        labels = [label for label, _ in sheets[kind, SHOWN_GUIDANCE[0]]]
        lines = [(label, [sheets[kind, cfg][i][1] for cfg in SHOWN_GUIDANCE]) for i, label in enumerate(labels)]
        paths.append(folder / f"photographs_{kind}.png")
        plots.contact_sheet(
            lines, columns, crops.CLASSES, paths[-1], f"The same start noises, {FAMILY[kind]}", inches=0.7
        )
    return paths
