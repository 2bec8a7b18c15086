"""The calibrated rules on a latent that packs several, such as a video and its sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...evaluation import Evaluation
from ..base import AddedNoise, Correction, Earlier, MadeStep, Rule, RunFacts


class ByParts:
    """One rule for each part: each has its own shape, its own bands, and claims that are judged by themselves."""

    def __init__(self, run: RunFacts, begin: Callable[[RunFacts], Rule]) -> None:
        self._run, self.pairs = replace(run, earlier=None), run.observed
        self._sizes = [math.prod(shape[1:]) for shape in run.parts]
        regions = [None] * len(run.parts) if run.region is None else self._split(run.region.expand(run.shape))
        self._rules = []
        for i, (shape, region) in enumerate(zip(run.parts, regions, strict=True)):
            earlier = None if run.earlier is None else Earlier(run.earlier.memory[i], run.earlier.following)
            self._rules.append(begin(replace(run, shape=shape, region=region, earlier=earlier, parts=())))

    @property
    def memory(self) -> tuple:
        return tuple(rule.memory for rule in self._rules)

    def judge(self, evaluated: Evaluation) -> None:
        for rule, part in zip(self._rules, self._evaluations(evaluated), strict=True):
            rule.judge(part)

    def correct(self, made: MadeStep) -> Correction:
        starts, x_next = self._evaluations(made.start), self._split(made.x_next)
        stages = [self._evaluations(stage) for stage in made.stages]
        noises: list = [None] * len(x_next)
        if made.noise is not None:
            noises = [AddedNoise(made.noise.how, made.noise.amplitude, one) for one in self._split(made.noise.noise)]
        seen = [
            rule.correct(
                replace(
                    made, start=starts[i], x_next=x_next[i], stages=tuple(stage[i] for stage in stages), pair=None,
                    noise=noises[i],
                )
            )
            for i, rule in enumerate(self._rules)
        ]  # fmt: skip
        return self._joined(seen, Correction.of_pair(made.pair))

    def _split(self, packed: Tensor) -> list[Tensor]:
        """[B, ...] -> the parts in their shapes."""
        parts = packed.flatten(1).split(self._sizes, dim=1)
        return [part.reshape(shape) for part, shape in zip(parts, self._run.parts, strict=True)]

    def _evaluations(self, whole: Evaluation) -> list[Evaluation]:
        pairs = zip(self._split(whole.x), self._split(whole.d), strict=True)
        return [Evaluation(x, whole.sigma, d) for x, d in pairs]

    def _joined(self, seen: list[Correction], whole: Correction) -> Correction:
        """The values side by side. What is measured is the parts' mean, each by its size."""
        values = [one.value for one in seen]
        if any(value is not None for value in values):
            filled = [
                value.flatten(1) if value is not None else torch.zeros(shape, device=self._run.device).flatten(1)
                for value, shape in zip(values, self._run.parts, strict=True)
            ]
            whole = whole._replace(value=torch.cat(filled, dim=1).view(self._run.shape))
        if not self._run.observed:
            return whole
        norms = [one.norm for one in seen if one.norm is not None]
        if norms:
            norm = torch.stack(norms).square().sum(0).sqrt()
            held = torch.stack([one.held for one in seen if one.held is not None]).amax(0)
            whole = whole._replace(norm=norm, active=norm > 0, held=held)
        means = {name: self._mean([getattr(one, name) for one in seen]) for name in _MEANS}
        return whole._replace(**means)

    def _mean(self, values: list[Tensor | None]) -> Tensor | None:
        known = [(value, size) for value, size in zip(values, self._sizes, strict=True) if value is not None]
        if not known:
            return None
        return torch.stack([value * size for value, size in known]).sum(0) / sum(size for _, size in known)


_MEANS = ("data_std", "valid", "believed", "noise", "noise_ratio")
