"""Problems, networks and photographs, and the runs on them, a row each."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..instruments import crops, data, distances, edm, network, photo_network, rows
from ..instruments.comfy_model import Bench, comfy
from ..instruments.noisy import DETERMINISTIC, OURS, steps_within, stock
from ..instruments.problems import problem
from ..instruments.score_network import Galaxies, load
from ..networks import levels
from ..photographs.judge import Judge as HeldOut
from .page import DIGITS, ON_NETWORKS, Row, photographs_at

SAMPLES, PICTURES = 1000, 768
"""Of an exact problem or the network of digits; of a galaxy network with 32 x 32 numbers, whose distribution has long
tails. A quarter as many of larger pictures."""
BUDGETS = (6, 8, 12, 16, 24)
OF_PICTURES = (8, 16)
"""Those of them at which networks are sampled, which take long."""
PROBLEMS = (
    "gaussian-round", "gaussian-rotated", "mixture-8x8", "digits-0.30", "spiral-0.10", "mixture-3x16x16",
    "gratings", "tree-0.10", "digits-0.10", "even-colour",
    "gaussian-patches", "patches-0.10", "flat-areas", "line-art", "tree-0.05", "spiral-0.05",
)  # fmt: skip
NETWORKS = ("HSC 32", "ZTF 32", DIGITS)
GUIDANCE = (1.0, 3.0, 7.0)
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


def judge_by(drawn: Tensor) -> Judge:
    """Distances to samples of the data."""
    drawn = drawn.flatten(1).float()
    variance = float(drawn.var(0).sum())

    def judge(samples: Tensor) -> tuple[float, float, float]:
        samples = samples.flatten(1).float()
        if not samples.isfinite().all():
            return (float("inf"),) * 3
        return (
            distances.sliced_wasserstein(samples, drawn, DIRECTIONS),
            distances.frechet(samples, drawn) if samples.shape[1] <= 256 else float("nan"),
            float(samples.var(0).sum()) / variance,
        )

    return judge


def start_noise(shape: tuple[int, ...], count: int, seed: int = 771) -> Tensor:
    """ComfyUI's samplers draw from seed 1 here, which must not give their start noise again."""
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))


def exact(name: str, kind: str, samples: int) -> Setting:
    what = problem(name)
    drawn = what.distribution.draw(4 * samples, torch.Generator().manual_seed(5))
    bench = Bench(what, kind, start_noise(what.shape, samples))
    return Setting(name, kind, bench, lambda steps: bench.sigmas(SCHEDULES[kind], steps), judge_by(drawn))


def digits(kind: str, samples: int) -> Setting:
    """This repository's network of digits, against the digits."""
    bench = Bench(edm.Model(network.load()[0]), kind, start_noise((1, 8, 8), samples))
    judge = judge_by(data.digit_images()[0])
    return Setting(DIGITS, kind, bench, lambda steps: bench.sigmas(SCHEDULES[kind], steps), judge)


def galaxies(name: str, kind: str, pictures: int) -> Setting:
    """Against a long ancestral run of the same network from the same level: these differ by where they start."""
    model = Galaxies(load(name))
    samples = pictures // (model.shape[-1] // 32) ** 2
    long = Bench(model, kind, start_noise(model.shape, 2 * samples, seed=881))
    drawn = long.sample("euler_ancestral", long_schedule(levels(long, 8)[0], long.flow))[0]
    bench = Bench(model, kind, start_noise(model.shape, samples))
    return Setting(name, kind, bench, lambda steps: levels(bench, steps), judge_by(drawn))


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

    return Setting(photographs_at(cfg), kind, bench, lambda steps: bench.sigmas(SCHEDULES[kind], steps), judge)


def runs(stock_samplers: Iterable[str]) -> list[tuple[str, str]]:
    """(sampler, mode)."""
    return [*((name, "calibrated") for name in (*OURS, *DETERMINISTIC)), *((name, "stock") for name in stock_samplers)]


def _runs_on(setting: Setting, budgets: list[int], stock_samplers: Iterable[str]) -> Iterator[Row]:
    for budget in budgets:
        for sampler, mode in runs(stock_samplers):
            steps = steps_within(sampler, budget)
            if steps < 2:
                continue
            torch.manual_seed(3)  # for samplers that do not take ComfyUI's seed
            samples, calls = setting.bench.sample(sampler, setting.sigmas(steps))
            yield Row(setting.name, setting.kind, budget, sampler, mode, calls, *setting.judge(samples))


def _settings(options: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[], Setting]]]:
    for kind in SCHEDULES:
        for name in options.problems:
            yield name, kind, partial(exact, name, kind, options.samples)
    for kind in SCHEDULES:
        for name in options.networks:
            made = (
                partial(digits, kind, options.samples)
                if name == DIGITS
                else partial(galaxies, name, kind, options.pictures)
            )
            yield name, kind, made
        for cfg in options.guidance:
            yield photographs_at(cfg), kind, partial(photographs, cfg, kind, options.pictures // 4)


def measure(options: argparse.Namespace, path: Path) -> None:
    """All rows, written as they are made; with options.resume, those of a problem that the file has are kept."""
    kept = rows.read(path, Row) if options.resume else []
    done = {(row.problem, row.kind) for row in kept}
    writer, begin = rows.Writer(path, Row, kept), time.monotonic()
    for name, kind, make in _settings(options):
        if (name, kind) in done:
            continue
        exactly = name in options.problems
        budgets = options.budgets if exactly else [b for b in options.budgets if b in OF_PICTURES]
        for row in _runs_on(make(), budgets, stock() if exactly else ON_NETWORKS):
            writer.write(row)
        gc.collect()  # torchsde's Brownian trees refer to themselves, and hold a problem's whole noise
        print(f"{name}, {kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
