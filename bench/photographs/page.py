"""A learned class-conditional network of photographs under classifier-free guidance: python -m bench.photographs.

Crops of photographs have what people's pictures have: flat skies beside hard edges, fine texture, dark places. The
network that bench/train_photographs.py trains on them is sampled through ComfyUI at CFG 1, 3 and 7, as a sigma-space
and as a flow model, and judged by error, distance to held-out crops, and noise in flat places. Writes photographs.csv,
PHOTOGRAPHS.md, the plot and the sheets of pictures into bench/results/.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from devtools.twins import TWINS

from .instruments import crops, distances, edm, environment, photo_network, plots, rows
from .instruments.comfy_model import Bench
from .instruments.environment import RESULTS
from .instruments.reference import Reference, converge, rms
from .instruments.stock import DETERMINISTIC, erk_samplers, steps_within
from .instruments.tables import WORSE_BY, geometric_mean, number, percent, ratio, table

CSV = RESULTS / "photographs.csv"
SAMPLES = 64
BUDGETS = (8, 12, 16, 24)
GUIDANCE = (1.0, 3.0, 7.0)
SCHEDULES = {"eps": "karras", "flow": "simple"}
FAMILY = {"eps": "sigma-space, 14.6 to 0.029", "flow": "flow, shift 3"}
MODES = ("off", "calibrated")
PEERS = ("euler", "heun", "dpmpp_2s_ancestral", "dpmpp_2m", "ipndm_v", "deis", "res_multistep", "uni_pc")
METRICS = {"error": "error", "features": "Frechet", "patches": "sliced Wasserstein"}
BOUND = 1.05
"""A cell above this ratio is listed."""

REFERENCE_STEPS, TOLERANCE = 24, 5e-4
"""Of the converged solutions: steps to begin with, before they are doubled, and the error that is small enough."""
INFINITY = 2000.0
"""The sigma/alpha at which a flow model's start counts as noise alone."""
FLAT = 0.06
"""Flat is where no pixel of the converged picture within two pixels departs from its 3 x 3 mean by more: eight of 255
grey levels.
"""
PATCH = 8
"""Side of the patches whose sliced Wasserstein distance to the data is taken."""

SHOWN = (("euler", "stock"), ("dpmpp_2m", "stock"), ("erk_abm", "off"), ("erk_abm", "calibrated"))
SHOWN_BUDGETS = (6, 8)
SHOWN_GUIDANCE = (3.0, 7.0)
Sheets = dict[tuple[str, float], list[tuple[str, Tensor]]]
"""(kind, cfg): a label and pictures [classes, 3, 32, 32] for each row of the sheet."""


@dataclass(frozen=True)
class Row:
    """One run.

    mode      of this pack's samplers; "stock" for ComfyUI's own; "converged" for the reference, "data" for other crops
              of the data
    error     mean RMS distance to the converged solution
    worse     share of samples further from it than the same solver with mode off; NaN for stock
    features  squared Frechet distance to the held-out crops in the classifier's feature space
    patches   sliced Wasserstein-2 distance of patches to those of the held-out crops
    grain     RMS departure from the 3 x 3 mean in the converged picture's flat places, over the converged picture's own
    """

    kind: str
    cfg: float
    budget: int
    sampler: str
    mode: str
    calls: int
    error: float
    worse: float
    features: float
    patches: float
    grain: float

    @property
    def cell(self) -> tuple[str, float, str, int]:
        return self.kind, self.cfg, self.sampler, self.budget


class Judge:
    """Distances of samples to held-out crops of the same classes."""

    def __init__(self, classifier: photo_network.Classifier, count: int = 4000) -> None:
        self.classifier = classifier
        data = crops.draw(count, torch.Generator().manual_seed(2), held_out=True)[0]
        self.scale = classifier.features(data).std()
        self._features, self._patches = self.features(data), patches_of(data[: count // 4])

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 3, 32, 32] -> [B, 24], scaled to a standard deviation of 1 over the data."""
        return self.classifier.features(pictures) / self.scale

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> tuple[float, float]:
        """Frechet distance of the features and sliced Wasserstein distance of the patches."""
        samples = samples.float()
        if not samples.isfinite().all():
            return math.inf, math.inf
        return (
            distances.frechet(self.features(samples), self._features),
            distances.sliced_wasserstein(patches_of(samples), self._patches, directions=128),
        )


def patches_of(pictures: Tensor) -> Tensor:
    """[B, 3, 32, 32] -> [B * 16, 192]."""
    return functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)


def departure(pictures: Tensor) -> Tensor:
    """Of each pixel from the mean of 3 x 3 about it, cut off at the border."""
    return pictures - functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)


def flat_places(converged: Tensor) -> Tensor:
    """[B, 3, h, w] -> where there is nothing but noise to see, bool [B, 1, h, w]."""
    size = departure(converged).abs().amax(1, keepdim=True)
    return functional.max_pool2d(size, 5, stride=1, padding=2) < FLAT


def grain(pictures: Tensor, flat: Tensor) -> float:
    """RMS departure in flat places."""
    return float(departure(pictures.double()).masked_select(flat).square().mean().sqrt())


class Setting:
    """The network at one strength of guidance on one kind of model, with its converged solution."""

    def __init__(self, denoiser: photo_network.Denoiser, kind: str, cfg: float, samples: int) -> None:
        self.kind, self.cfg, self.denoiser = kind, cfg, denoiser
        self.bench = self._bench(samples)
        self.reference = self._converge()
        self.flat = flat_places(self.reference.samples)
        self.grain = grain(self.reference.samples, self.flat)

    def _bench(self, samples: int) -> Bench:
        """The same noises whatever their number, the classes in turn."""
        noise = torch.randn((samples, 3, crops.SIZE, crops.SIZE), generator=torch.Generator().manual_seed(1))
        classes = torch.eye(crops.CLASSES)[torch.arange(samples) % crops.CLASSES]
        return Bench(edm.Model(self.denoiser, self.cfg, classes), self.kind, noise)

    def _converge(self) -> Reference:
        """Where the ODE ends: the network in float32, as it is sampled, the integration in float64."""
        model, bench = self.bench.predictor, self.bench
        start = self.sigmas(8)[:1]
        x, sigma = bench.start(start).double(), float(start)
        if bench.flow:
            # In x/alpha and sigma/alpha it is a sigma-space model's ODE. To INFINITY the prediction does not change.
            x, sigma = guided(model, x, sigma, flow=True) + INFINITY * x, INFINITY
        return converge(lambda x, sigma: guided(model, x, sigma), x, sigma, tolerance=TOLERANCE, steps=REFERENCE_STEPS)

    def sigmas(self, steps: int) -> Tensor:
        return self.bench.sigmas(SCHEDULES[self.kind], steps)

    def rows(self, budget: int, judge: Judge) -> Iterator[Row]:
        """Every sampler within a number of model calls; those with fewer than two steps are left out."""
        off: dict[str, Tensor] = {}
        for sampler, mode, options in runs():
            steps = steps_within(sampler, budget)
            if steps < 2:
                continue
            samples, calls = self.bench.sample(sampler, self.sigmas(steps), options)
            errors = rms(samples.double() - self.reference.samples).nan_to_num(math.inf, math.inf)
            worse = math.nan
            if mode != "stock":
                worse = float((errors > off.setdefault(sampler, errors) * (1 + WORSE_BY) + 1e-6).double().mean())
            noise = grain(samples, self.flat) / self.grain
            row = Row(
                self.kind, self.cfg, budget, sampler, mode, calls, float(errors.mean()), worse, *judge(samples), noise
            )
            yield row
            if mode == "off" and _twin(sampler):  # tests hold the two to being equal: one run is both
                yield replace(row, sampler=_twin(sampler), mode="stock", worse=math.nan)

    def converged(self, judge: Judge) -> Row:
        return Row(self.kind, self.cfg, 0, "", "converged", 0, 0.0, 0.0, *judge(self.reference.samples), 1.0)

    def pictures(self) -> list[tuple[str, Tensor]]:
        """To look at, a picture of each class: for each of SHOWN_BUDGETS the samplers SHOWN and the converged
        solution.
        """
        bench = self._bench(crops.CLASSES)
        pictures = []
        for budget in SHOWN_BUDGETS:
            for sampler, mode in SHOWN:
                options = DETERMINISTIC[sampler] if mode == "stock" else {"mode": mode}
                label = "\n".join([sampler, *([] if mode == "stock" else [mode]), f"{budget} calls"])
                pictures.append((label, bench.sample(sampler, self.sigmas(steps_within(sampler, budget)), options)[0]))
            pictures.append(("converged", self.reference.samples[: crops.CLASSES]))
        return pictures


def guided(model: edm.Model, x: Tensor, sigma: float, flow: bool = False) -> Tensor:
    return model.guided(x.float(), sigma, flow).double()


def measure(samples: int, budgets: Sequence[int], path: Path) -> tuple[list[Row], Sheets, float]:
    """All rows, written as they are made; pictures to look at; the share of the converged pictures that is flat."""
    denoiser, classifier = photo_network.load()
    judge = Judge(classifier)
    writer = rows.Writer(path, Row)
    made: list[Row] = []
    sheets: Sheets = {}
    flat_share = []

    def keep(row: Row) -> None:
        writer.write(row)
        made.append(row)

    floor = judge(crops.draw(samples, torch.Generator().manual_seed(3), held_out=True)[0])
    keep(Row("", 0.0, 0, "", "data", 0, math.nan, math.nan, *floor, math.nan))
    begin = time.monotonic()
    for kind in SCHEDULES:
        for cfg in GUIDANCE:
            setting = Setting(denoiser, kind, cfg, samples)
            own_error, steps = float(setting.reference.error.mean()), setting.reference.steps
            _say(f"{kind}, CFG {cfg:g}: {steps} RK4 steps, their own error {own_error:.1e}", begin)
            flat_share.append(float(setting.flat.double().mean()))
            keep(setting.converged(judge))
            for budget in budgets:
                for row in setting.rows(budget, judge):
                    keep(row)
                _say(f"{kind}, CFG {cfg:g}, {budget} calls", begin)
            if cfg in SHOWN_GUIDANCE:
                sheets[kind, cfg] = setting.pictures()
    return made, sheets, statistics.fmean(flat_share)


def _twin(sampler: str) -> str:
    """ComfyUI's sampler with the arithmetic of this pack's at mode off; "" where it has none."""
    return TWINS.get(sampler.removeprefix("erk_"), ("",))[0]


def _say(text: str, begin: float) -> None:
    print(f"{text}, {time.monotonic() - begin:.0f} s", file=sys.stderr)


def runs() -> list[tuple[str, str, dict]]:
    """(sampler, mode, options), mode off of each of this pack's samplers before the others."""
    ours = [(sampler, mode, {"mode": mode}) for sampler in erk_samplers() for mode in MODES]
    done = {_twin(sampler) for sampler in erk_samplers()}
    return ours + [(sampler, "stock", DETERMINISTIC[sampler]) for sampler in PEERS if sampler not in done]


def write_report(made: list[Row], flat_share: float, samples: int, path: Path, sentence: str) -> None:
    """PHOTOGRAPHS.md."""
    denoiser, _ = photo_network.load()
    data = next(row for row in made if row.mode == "data")
    first = min(row.budget for row in made if row.budget)
    lines = [
        "# Photographs",
        "",
        f"{sentence} The network: a U-Net of {edm.weights(denoiser):,} weights, trained by `python -m "
        f"bench.train_photographs` on 32 x 32 crops of {crops.CLASSES} photographs, the photograph being the class; "
        f"{samples} samples a run.",
        "",
        f"The photographs are in the wheels of scikit-image {crops.SCIKIT_IMAGE.version} (astronaut, Chelsea the cat, "
        f"coffee, rocket, "
        "Middlebury's motorcycle, Hubble's deep field) and of scikit-learn (China by danielbuechele, a flower "
        "by vultilion, both CC BY 2.0); none is in this repository.",
        "",
        "- Error: mean RMS distance to the converged solution of the sampling ODE, CFG included. "
        "Pixels are in [-1, 1].",
        "- Frechet: squared Frechet distance to 4000 held-out crops, cut at scales that training never saw, in the "
        "feature space of a classifier of the photographs.",
        f"- Sliced Wasserstein: distance of {PATCH} x {PATCH} patches to those of 1000 of these crops.",
        f"- Noise: in flat places, what a pixel departs from its 3 x 3 mean (RMS), over the same of the converged "
        f"picture. A place is flat where the converged picture departs by less than {FLAT:g} within two pixels: "
        f"{percent(flat_share)} of the pixels.",
        f"- Made worse: share of samples whose error grew by more than {WORSE_BY:.1%} over that with mode off.",
        "",
        "Ratios are calibrated over off, same solver, equal calls; their means over solvers are geometric. Less is "
        "better.",
        "",
        "![ratio](photographs_ratio.png)",
        "",
        *_by_model(made, f"Against the same solver with guidance off, {first} calls", lambda row: row.budget == first),
        *_by_model(made, "The same, all numbers of calls", lambda _: True),
        *_by_solver(made, first),
        *_above(made),
        *_against_stock(made),
        "## Pictures",
        "",
        f"From the same noises, at {' and '.join(map(str, SHOWN_BUDGETS))} calls; a class a column.",
        "",
        *(line for kind in SCHEDULES for line in (f"![{FAMILY[kind]}](photographs_{kind}.png)", "")),
        "## All runs",
        "",
        "Per cell: error / Frechet / sliced Wasserstein / noise.",
        "",
        f"As many other held-out crops: Frechet {data.features:.3g}, sliced Wasserstein {data.patches:.3g}.",
        "",
        *_details(made),
    ]
    path.write_text("\n".join(line.rstrip() for line in lines).rstrip() + "\n")


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
        f"The least error of this pack's samplers, calibrated, against the least of {', '.join(PEERS)}, "
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
    """For each kind of model, the same noises through several samplers, a class a column."""
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


def _command(options: argparse.Namespace) -> str:
    command = f"python -m bench.photographs --samples {options.samples}"
    return command + (f" --budgets {' '.join(map(str, options.budgets))}" if tuple(options.budgets) != BUDGETS else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="samples a run, the classes in turn")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="model calls")
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
    made, sheets, flat_share = measure(options.samples, options.budgets, csv)
    write_report(
        made, flat_share, options.samples, folder / "PHOTOGRAPHS.md", environment.sentence(csv.with_suffix(".json"))
    )
    points = [
        plots.Ratio(row.sampler, "calibrated", FAMILY[row.kind], row.budget, ratio(row.error, off.error))
        for row, off in pairs(made)
    ]
    plots.ratio_by_calls(
        points, folder / "photographs_ratio.png",
        "Error on a network of photographs, CFG 1, 3 and 7, equal model calls",
        "error, calibrated / off",
    )  # fmt: skip
    for path in (csv, folder / "PHOTOGRAPHS.md", folder / "photographs_ratio.png", *write_sheets(sheets, folder)):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
