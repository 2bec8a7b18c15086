"""Samples the network through ComfyUI at every strength of guidance. A run gives one row, and there are pictures."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from devtools.twins import TWINS

from ..instruments import crops, edm, photo_network, rows
from ..instruments.comfy_model import Bench
from ..instruments.grain import grain
from ..instruments.reference import Reference, converge
from ..instruments.stock import DETERMINISTIC, erk_samplers, runs, steps_within
from ..instruments.tables import share_worse
from .judge import Judge, flat_places

SAMPLES = 64
BUDGETS = (8, 12, 16, 24)
GUIDANCE = (1.0, 3.0, 7.0)
SCHEDULES = {"eps": "karras", "flow": "simple"}
FAMILY = {"eps": "sigma-space, 14.6 to 0.029", "flow": "flow, shift 3"}
MODES = ("off", "calibrated")
PEERS = ("euler", "heun", "dpmpp_2s_ancestral", "dpmpp_2m", "ipndm_v", "deis", "res_multistep", "uni_pc")

REFERENCE_STEPS, TOLERANCE = 24, 5e-4
"""For the converged solutions: the first number of steps, which is doubled until the error is small enough."""
INFINITY = 2000.0
"""The sigma/alpha from which a flow model's state counts as pure noise."""

SHOWN = (("euler", "stock"), ("dpmpp_2m", "stock"), ("erk_abm", "off"), ("erk_abm", "calibrated"))
SHOWN_BUDGETS = (6, 8)
SHOWN_GUIDANCE = (3.0, 7.0)
Sheets = dict[tuple[str, float], list[tuple[str, Tensor]]]
"""For each (kind, cfg), a label and pictures [classes, 3, 32, 32] for each row of the sheet."""


@dataclass(frozen=True)
class Row:
    """One run.

    mode      the mode of this pack's samplers, or "stock" for ComfyUI's own, "converged" for the reference, "data" for
              other crops of the data
    error     mean RMS distance to the converged solution
    worse     share of samples further from it than with mode off of the same solver; NaN for stock
    features  squared Frechet distance to the held-out crops in the classifier's feature space
    patches   sliced Wasserstein-2 distance of patches to those of the held-out crops
    grain     RMS difference from the 3 x 3 mean in the converged picture's flat places, divided by that of the
              converged picture
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


class Setting:
    """The network at one strength of guidance on one kind of model, with its converged solution."""

    def __init__(self, denoiser: photo_network.Denoiser, kind: str, cfg: float, samples: int) -> None:
        self.kind, self.cfg, self.denoiser = kind, cfg, denoiser
        self.bench = self._bench(samples)
        self.reference = self._converge()
        self.flat = flat_places(self.reference.samples)
        self.grain = grain(self.reference.samples, self.flat)

    def _bench(self, samples: int) -> Bench:
        """The benchmark's model and noise, with the classes in turn. The noise does not depend on their number."""
        noise = torch.randn((samples, 3, crops.SIZE, crops.SIZE), generator=torch.Generator().manual_seed(1))
        classes = torch.eye(crops.CLASSES)[torch.arange(samples) % crops.CLASSES]
        return Bench(edm.Model(self.denoiser, self.cfg, classes), self.kind, noise)

    def _converge(self) -> Reference:
        """The ODE's end point. The network runs in float32, as it is sampled, and the integration in float64."""
        model, bench = self.bench.predictor, self.bench
        start = self.sigmas(8)[:1]
        x, sigma = bench.start(start).double(), float(start)
        if bench.flow:
            # In x/alpha and sigma/alpha, it is a sigma-space model's ODE. Above INFINITY, the prediction is constant.
            x, sigma = guided(model, x, sigma, flow=True) + INFINITY * x, INFINITY
        return converge(lambda x, sigma: guided(model, x, sigma), x, sigma, tolerance=TOLERANCE, steps=REFERENCE_STEPS)

    def sigmas(self, steps: int) -> Tensor:
        return self.bench.sigmas(SCHEDULES[self.kind], steps)

    def rows(self, budget: int, judge: Judge) -> Iterator[Row]:
        """Every sampler within a number of model calls. Samplers with fewer than two steps are left out."""
        off: dict[str, Tensor] = {}
        for sampler, mode, options in _runs():
            steps = steps_within(sampler, budget)
            if steps < 2:
                continue
            samples, calls = self.bench.sample(sampler, self.sigmas(steps), options)
            errors = self.reference.distance(samples)
            worse = math.nan if mode == "stock" else share_worse(errors, off.setdefault(sampler, errors))
            noise = grain(samples, self.flat) / self.grain
            row = Row(
                self.kind, self.cfg, budget, sampler, mode, calls, float(errors.mean()), worse, *judge(samples), noise
            )
            yield row
            if mode == "off" and _twin(sampler):  # tests check that the two are equal, so one run counts for both
                yield replace(row, sampler=_twin(sampler), mode="stock", worse=math.nan)

    def converged(self, judge: Judge) -> Row:
        return Row(self.kind, self.cfg, 0, "", "converged", 0, 0.0, 0.0, *judge(self.reference.samples), 1.0)

    def pictures(self) -> list[tuple[str, Tensor]]:
        """Pictures to look at, one of each class.

        For each of SHOWN_BUDGETS, they are from the samplers SHOWN and from the converged solution.
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


def measure(samples: int, budgets: Sequence[int], path: Path) -> tuple[Sheets, float]:
    """Measure all rows. Each is written as soon as it is made.

    Returns pictures to look at, and which share of the converged ones is flat.
    """
    denoiser, classifier = photo_network.load()
    judge = Judge(classifier)
    writer = rows.Writer(path, Row)
    sheets: Sheets = {}
    flat_share = []
    floor = judge(crops.draw(samples, torch.Generator().manual_seed(3), held_out=True)[0])
    writer.write(Row("", 0.0, 0, "", "data", 0, math.nan, math.nan, *floor, math.nan))
    begin = time.monotonic()
    for kind in SCHEDULES:
        for cfg in GUIDANCE:
            setting = Setting(denoiser, kind, cfg, samples)
            own_error, steps = float(setting.reference.error.mean()), setting.reference.steps
            _say(f"{kind}, CFG {cfg:g}: {steps} RK4 steps with an error of {own_error:.1e}", begin)
            flat_share.append(float(setting.flat.double().mean()))
            writer.write(setting.converged(judge))
            for budget in budgets:
                for row in setting.rows(budget, judge):
                    writer.write(row)
                _say(f"{kind}, CFG {cfg:g}, {budget} calls", begin)
            if cfg in SHOWN_GUIDANCE:
                sheets[kind, cfg] = setting.pictures()
    return sheets, statistics.fmean(flat_share)


def _twin(sampler: str) -> str:
    """ComfyUI's sampler with the same arithmetic as this pack's with mode off, or "" if there is none."""
    return TWINS.get(sampler.removeprefix("erk_"), ("",))[0]


def _say(text: str, begin: float) -> None:
    print(f"{text}, {time.monotonic() - begin:.0f} s", file=sys.stderr)


def _runs() -> list[tuple[str, str, dict]]:
    """The runs, with mode off of each of this pack's samplers before the other modes.

    Stock samplers that are a twin of one of them are left out.
    """
    done = {_twin(sampler) for sampler in erk_samplers()}
    return runs(MODES, [sampler for sampler in PEERS if sampler not in done])
