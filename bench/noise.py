"""Samplers that add noise, by the distribution of what they sample: python -m bench.noise.

On exact problems (bench/instruments/problems.py) against samples of the data; on score networks that others trained
(bench/instruments/score_network.py) against samples of a long run of the same network; and on this repository's
conditional network of photographs under CFG, against held-out crops. Every sampler of ComfyUI that adds noise at its
defaults, this pack's two with mode off and calibrated, and some of its samplers without noise, at equal model calls.
Writes noise.csv, NOISE.md and the plot into bench/results/.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import noise_report
from .instruments import distances, environment, rows
from .instruments.comfy_model import Bench
from .instruments.environment import RESULTS
from .instruments.noisy import DETERMINISTIC, OURS, steps_within, stock
from .instruments.packages import FetchError
from .instruments.problems import problem
from .instruments.score_network import GALAXYGRAD, Galaxies, load
from .networks import levels
from .noise_report import Row

CSV = RESULTS / "noise.csv"
BUDGETS = (6, 8, 12, 16, 24)
PROBLEMS = (
    "gaussian-round", "gaussian-rotated", "mixture-8x8", "digits-0.30", "spiral-0.10", "mixture-3x16x16",
    "gratings", "gaussian-axis", "tree-0.10", "digits-0.10", "sphere-64", "even-colour",
)  # fmt: skip
NETWORKS = ("HSC 32", "ZTF 32")
GUIDANCE = (3.0, 7.0)
SCHEDULES = {"eps": "karras", "flow": "simple"}
LONG_RUN = 100
DIRECTIONS = 256

Judge = Callable[[Tensor], tuple[float, float, float]]
"""Samples [B, ...] -> sliced Wasserstein distance, Frechet distance, total variance over that of the data."""


@dataclass(frozen=True)
class Setting:
    """One problem on one kind of model."""

    name: str
    kind: str
    bench: Bench
    sigmas: Callable[[int], Tensor]
    judge: Judge


def judge_by(data: Tensor) -> Judge:
    """Distances to samples of the data."""
    data = data.flatten(1).float()
    variance = float(data.var(0).sum())

    def judge(samples: Tensor) -> tuple[float, float, float]:
        samples = samples.flatten(1).float()
        if not samples.isfinite().all():
            return (float("inf"),) * 3
        return (
            distances.sliced_wasserstein(samples, data, DIRECTIONS),
            distances.frechet(samples, data) if samples.shape[1] <= 256 else float("nan"),
            float(samples.var(0).sum()) / variance,
        )

    return judge


def start_noise(shape: tuple[int, ...], count: int, seed: int = 771) -> Tensor:
    """ComfyUI's samplers draw from seed 1 here, which must not give their start noise again."""
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))


def exact(name: str, kind: str, samples: int) -> Setting:
    what = problem(name)
    data = what.distribution.draw(4 * samples, torch.Generator().manual_seed(5))
    bench = Bench(what, kind, start_noise(what.shape, samples))
    return Setting(name, kind, bench, lambda steps: bench.sigmas(SCHEDULES[kind], steps), judge_by(data))


def network(name: str, kind: str, samples: int) -> Setting:
    """The long run is ancestral sampling on the sigma-space schedule: both kinds have one distribution."""
    model = Galaxies(load(name))
    long = Bench(model, "eps", start_noise(model.shape, 2 * samples, seed=881))
    data = long.sample("euler_ancestral", long.sigmas("karras", LONG_RUN))[0]
    bench = Bench(model, kind, start_noise(model.shape, samples))
    return Setting(name, kind, bench, lambda steps: levels(bench, steps), judge_by(data))


def photographs(cfg: float, kind: str, samples: int) -> Setting:
    from . import photographs as page
    from .instruments import crops, edm, photo_network

    denoiser, classifier = photo_network.load()
    held_out = page.Judge(classifier)
    classes = torch.eye(crops.CLASSES)[torch.arange(samples) % crops.CLASSES]
    bench = Bench(edm.Model(denoiser, cfg, classes), kind, start_noise((3, crops.SIZE, crops.SIZE), samples))

    def judge(pictures: Tensor) -> tuple[float, float, float]:
        features, patches = held_out(pictures)
        return patches, features, float("nan")

    return Setting(f"photographs, CFG {cfg:g}", kind, bench, lambda steps: bench.sigmas(SCHEDULES[kind], steps), judge)


def runs() -> list[tuple[str, str, dict[str, Any]]]:
    """(sampler, mode, options)."""
    ours = [(name, mode, {"mode": mode}) for name in OURS for mode in ("off", "calibrated")]
    plain = [(name, "calibrated", {}) for name in DETERMINISTIC]
    return [*ours, *plain, *((name, "stock", {}) for name in stock())]


def measure(setting: Setting, budgets: list[int]) -> Iterator[Row]:
    for budget in budgets:
        for sampler, mode, options in runs():
            steps = steps_within(sampler, budget)
            if steps < 2:
                continue
            torch.manual_seed(3)  # for samplers that do not take ComfyUI's seed
            samples, calls = setting.bench.sample(sampler, setting.sigmas(steps), options)
            yield Row(setting.name, setting.kind, budget, sampler, mode, calls, *setting.judge(samples))


def settings(options: argparse.Namespace) -> Iterator[Callable[[], Setting]]:
    for kind in SCHEDULES:
        for name in options.problems:
            yield lambda name=name, kind=kind: exact(name, kind, options.samples)
    for kind in SCHEDULES:
        for name in options.networks:
            yield lambda name=name, kind=kind: network(name, kind, options.pictures)
        for cfg in options.guidance:
            yield lambda cfg=cfg, kind=kind: photographs(cfg, kind, options.pictures)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000, help="samples a run on exact problems")
    parser.add_argument("--pictures", type=int, default=160, help="samples a run on networks")
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--guidance", nargs="*", type=float, default=list(GUIDANCE), help="CFG on photographs")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="model calls")
    parser.add_argument("--resume", action="store_true", help="keep the problems that the file has")
    parser.add_argument("--report", action="store_true", help="only write the page from the file")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="comfy")
    path: Path = options.output / CSV.name
    if not options.report:
        try:
            if options.networks:
                GALAXYGRAD.wheel()
        except FetchError as error:
            print(error, file=sys.stderr)
            return 1
        environment.record(path.with_suffix(".json"), _command(parser, options), [GALAXYGRAD])
        kept = rows.read(path, Row) if options.resume else []
        done = {(row.problem, row.kind) for row in kept}
        writer, begin = rows.Writer(path, Row, kept), time.monotonic()
        for make in settings(options):
            setting = make()
            if (setting.name, setting.kind) in done:
                continue
            for row in measure(setting, options.budgets):
                writer.write(row)
            print(f"{setting.name}, {setting.kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    for made in noise_report.write(
        rows.read(path, Row), options.output, environment.sentence(path.with_suffix(".json"))
    ):
        print(made)
    return 0


def _command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """What makes the same rows from nothing."""
    given = ""
    for name in ("samples", "pictures", "problems", "networks", "guidance", "budgets"):
        value = getattr(options, name)
        if value != parser.get_default(name):
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            given += f" --{name} {shown}"
    return f"python -m bench.noise{given}"


if __name__ == "__main__":
    sys.exit(main())
