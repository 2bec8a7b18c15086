"""Problems, networks and photographs, and the runs on them, a row each."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..instruments import crops, distances, edm, photo_network, rows
from ..instruments.comfy_model import Bench, comfy
from ..instruments.noisy import DETERMINISTIC, OURS, steps_within, stock
from ..instruments.problems import problem
from ..instruments.score_network import Galaxies, load
from ..networks import levels
from ..photographs.judge import Judge as HeldOut
from .page import Row

SAMPLES, PICTURES = 500, 192
BUDGETS = (6, 8, 12, 16, 24)
OF_PICTURES = (8, 16)
"""Those of them at which networks and photographs are sampled, which take long."""
PROBLEMS = (
    "gaussian-round", "gaussian-rotated", "mixture-8x8", "digits-0.30", "spiral-0.10", "mixture-3x16x16",
    "gratings", "gaussian-axis", "tree-0.10", "digits-0.10", "sphere-64", "even-colour",
)  # fmt: skip
NETWORKS = ("HSC 32", "ZTF 32", "HSC 64")
GUIDANCE = (3.0, 7.0)
SCHEDULES = {"eps": "karras", "flow": "simple"}
LONG_RUN, LONG_RUN_END = 100, 0.01
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
    """Against a long ancestral run of the same network from the same level: these differ by where they start."""
    model = Galaxies(load(name))
    long = Bench(model, kind, start_noise(model.shape, 2 * samples, seed=881))
    data = long.sample("euler_ancestral", long_schedule(levels(long, 8)[0], long.flow))[0]
    bench = Bench(model, kind, start_noise(model.shape, samples))
    return Setting(name, kind, bench, lambda steps: levels(bench, steps), judge_by(data))


def long_schedule(first: Tensor, flow: bool) -> Tensor:
    """LONG_RUN steps of Karras' schedule in sigma/alpha from the level ``first`` down, and 0."""
    top = first / (1 - first) if flow else first
    steps = comfy.k_diffusion.sampling.get_sigmas_karras(LONG_RUN, LONG_RUN_END, top)
    return steps / (1 + steps) if flow else steps


def photographs(cfg: float, kind: str, samples: int) -> Setting:
    denoiser, classifier = photo_network.load()
    held_out = HeldOut(classifier)
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


def _runs_on(setting: Setting, budgets: list[int]) -> Iterator[Row]:
    for budget in budgets:
        for sampler, mode, options in runs():
            steps = steps_within(sampler, budget)
            if steps < 2:
                continue
            torch.manual_seed(3)  # for samplers that do not take ComfyUI's seed
            samples, calls = setting.bench.sample(sampler, setting.sigmas(steps), options)
            yield Row(setting.name, setting.kind, budget, sampler, mode, calls, *setting.judge(samples))


def _settings(options: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[], Setting]]]:
    for kind in SCHEDULES:
        for name in options.problems:
            yield name, kind, partial(exact, name, kind, options.samples)
    for kind in SCHEDULES:
        for name in options.networks:
            yield name, kind, partial(network, name, kind, options.pictures)
        for cfg in options.guidance:
            yield f"photographs, CFG {cfg:g}", kind, partial(photographs, cfg, kind, options.pictures // 4)


def measure(options: argparse.Namespace, path: Path) -> None:
    """All rows, written as they are made; with options.resume, those of a problem that the file has are kept."""
    kept = rows.read(path, Row) if options.resume else []
    done = {(row.problem, row.kind) for row in kept}
    writer, begin = rows.Writer(path, Row, kept), time.monotonic()
    for name, kind, make in _settings(options):
        if (name, kind) in done:
            continue
        budgets = options.budgets if name in options.problems else [b for b in options.budgets if b in OF_PICTURES]
        for row in _runs_on(make(), budgets):
            writer.write(row)
        print(f"{name}, {kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
