"""The demo's table: how many model calls erk_abm saves, on the demo model's network and on its mosaics.

Real ComfyUI, float32, the same noise for all, each error relative to the converged picture's own contrast. The
reference is a long run that goes down to the end of the ODE.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from devtools.inprocess import load_pack, pack_module

CALLS = (6, 8, 12, 16)
"""Numbers of calls of erk_abm, which makes one a step."""
LADDER = (6, 8, 10, 12, 16, 20, 24, 32)
"""Numbers of calls that dpmpp_2m is run with, CALLS among them. Between them it is interpolated."""
REFERENCE_STEPS = 64
SCHEDULES = {"eps": "karras", "flow": "simple"}
FAR = 0.3
"""A picture whose error is above this share of its contrast has become another picture, or nearly."""


@dataclass(frozen=True)
class Subject:
    """What is sampled.

    pictures  classes of the demo model, one for each picture of the batch
    """

    name: str
    pictures: Sequence[str]
    side: int
    cfg: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(SCHEDULES), nargs="*", default=list(SCHEDULES), help="kinds of model")
    arguments = parser.parse_args()
    load_pack()
    photographs = pack_module("nodes.demo.photographs").CLASSES
    subjects = (
        Subject("network of photographs, cfg 2", photographs, 32, 2.0),
        Subject("mosaics, cfg 3", ("arcs",) * 8, 96, 3.0),
    )
    print(
        "Error of erk_abm to the converged picture, in shares of its contrast: median, and mean in brackets.\n"
        "dpmpp_2m needs: its calls for the error that calibrated has, by the median and by the mean.\n"
    )
    print(f"{'':<44}{'calls':>6}{'off':>17}{'calibrated':>17}{'ratio':>14}{'dpmpp_2m needs':>20}")
    for subject in subjects:
        for kind in arguments.kind:
            for line in Runs(subject, kind).lines():
                print(line, flush=True)
    return 0


class Runs:
    """A subject, sampled as one kind of model."""

    def __init__(self, subject: Subject, kind: str) -> None:
        self.subject, self.kind = subject, kind
        demo = pack_module("nodes.demo.model")
        self._model = demo.build_demo_model(kind, subject.pictures[0])
        weights = [demo.class_conditioning(name)[0][0] for name in subject.pictures]
        self._positive = [[torch.cat(weights), {}]]
        self._negative = demo.class_conditioning(demo.all_kinds(subject.pictures[0]))
        shape = (len(subject.pictures), 3, subject.side, subject.side)
        self._noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self._reference = self._sample("erk_abm", {"mode": "off", "max_order": 4}, self._refined(REFERENCE_STEPS))
        half = self._sample("erk_abm", {"mode": "off", "max_order": 4}, self._refined(REFERENCE_STEPS // 2))
        doubt = statistics.median(self._errors(half))
        print(f"{subject.name}, {kind}: half of the reference is {doubt:.1e} away from it", file=sys.stderr)

    def lines(self) -> list[str]:
        lines = []
        peer = [(calls, self._at("dpmpp_2m", calls)) for calls in LADDER]
        for calls in CALLS:
            off, ours = self._at("erk_abm", calls, mode="off"), self._at("erk_abm", calls, mode="calibrated")
            ratios = [_mean(ours, by) / _mean(off, by) for by in _BOTH]
            needs = [self._needed(peer, _mean(ours, by), by) for by in _BOTH]
            name = f"{self.subject.name}, {self.kind}"
            lines.append(
                f"{name:<44}{calls:>6}{_pair(off):>17}{_pair(ours):>17}"
                f"{f'{ratios[0]:.2f} ({ratios[1]:.2f})':>14}{f'{needs[0]} ({needs[1]})':>20}"
            )
            if max(round(ratio, 2) for ratio in ratios) > 1:
                lines.append("    " + _why_above_1(off, ours))
            theirs = dict(peer)[calls]
            if any(_mean(theirs, by) < _mean(ours, by) for by in _BOTH):
                nearer = sum(a < b for a, b in zip(theirs, ours, strict=True))
                lines.append(f"    At {calls} calls dpmpp_2m is nearer, in {nearer} of {len(ours)} pictures.")
        return lines

    @staticmethod
    def _needed(peer: list[tuple[int, list[float]]], error: float, by: str) -> str:
        to_reach = pack_module("nodes.convergence.comparison").calls_to_reach
        calls = to_reach([(calls, _mean(errors, by)) for calls, errors in peer], error)
        return f"> {LADDER[-1]}" if calls is None else f"{calls:.0f}" if calls > LADDER[0] else f"<= {LADDER[0]}"

    @cache  # noqa: B019
    def _at(self, sampler: str, calls: int, **options: Any) -> list[float]:
        # Cached for as long as the process lives, which is the few runs of this table.
        return self._errors(self._sample(sampler, options, self._schedule(calls)))

    def _errors(self, samples: Tensor) -> list[float]:
        return pack_module("nodes.convergence.distances").relative_errors(samples, self._reference)

    def _schedule(self, steps: int) -> Tensor:
        import comfy.samplers

        sampling = self._model.get_model_object("model_sampling")
        return comfy.samplers.calculate_sigmas(sampling, SCHEDULES[self.kind], steps)

    def _refined(self, steps: int) -> Tensor:
        """A fine schedule whose last interval is refined geometrically, down to the ODE's end point."""
        sigmas = self._schedule(steps)
        tail = torch.logspace(float(sigmas[-2].log10()), -4.7, steps // 2)[1:]
        return torch.cat([sigmas[:-1], tail, sigmas.new_zeros(1)])

    def _sample(self, sampler: str, options: dict[str, Any], sigmas: Tensor) -> Tensor:
        import comfy.sample
        import comfy.samplers

        return comfy.sample.sample_custom(
            self._model, self._noise, self.subject.cfg, comfy.samplers.ksampler(sampler, options), sigmas,
            self._positive, self._negative, torch.zeros_like(self._noise), disable_pbar=True, seed=0,
        )  # fmt: skip


_BOTH = ("median", "mean")


def _mean(errors: Sequence[float], by: str) -> float:
    return statistics.median(errors) if by == "median" else statistics.fmean(errors)


def _pair(errors: Sequence[float]) -> str:
    return f"{_mean(errors, 'median'):.4f} ({_mean(errors, 'mean'):.4f})"


def _why_above_1(off: Sequence[float], ours: Sequence[float]) -> str:
    """Which pictures make a ratio above 1."""
    farther = [(mine, plain) for mine, plain in zip(ours, off, strict=True) if mine > plain]
    text = f"above 1: calibrated is farther away in {len(farther)} of {len(off)} pictures"
    worst, plain = max(farther, key=lambda pair: pair[0] - pair[1], default=(0.0, 0.0))
    text += f", most in one that goes from {plain:.3f} to {worst:.3f}"
    lost = sum(mine > FAR for mine in ours)
    if lost:
        text += f"; in {lost} neither is the converged picture any more (error above {FAR:g})"
    return text + "."


if __name__ == "__main__":
    sys.exit(main())
