"""How many model calls a sampler makes, found by counting: a dry run on a model that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor

from .entries import Entry
from .schedules import Schedule, resample

_SHAPE = (1, 4, 8, 8)


@dataclass(frozen=True)
class Plan:
    """How one entry spends a number of model calls.

    entry, budget  the sampler, and the calls that it may make
    sigmas         the levels of the longest run that makes no more; None where even one step takes more
    calls          what that run makes; a sampler that chooses its own steps makes others on a real model
    adaptive       whether it chooses its own
    """

    entry: Entry
    budget: int
    sigmas: Tensor | None
    calls: int
    adaptive: bool = False

    @property
    def steps(self) -> int:
        return 0 if self.sigmas is None else len(self.sigmas) - 1


class DryModel:
    """The exact denoiser of a Gaussian, with as much of ComfyUI's model around it as samplers look at.

    D(x, sigma) = alpha S^2 / (alpha^2 S^2 + sigma^2) x with S = 1; `calls` counts.
    """

    def __init__(self, model_sampling: Any) -> None:
        self.model_sampling = model_sampling
        self.inner_model = self.model_patcher = self
        self.calls = 0

    def get_model_object(self, name: str) -> Any:
        return getattr(self, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: Any = None, seed: int | None = None, **_: Any):
        self.calls += 1
        sigma = sigma.view(-1, *[1] * (x.ndim - 1))
        alpha = 1 - sigma if isinstance(self.model_sampling, comfy.model_sampling.CONST) else 1.0
        denoised = alpha / (alpha**2 + sigma**2) * x
        # CFG++ samplers read the unconditional prediction in such a function.
        for function in (model_options or {}).get("sampler_post_cfg_function", []):
            denoised = function({"denoised": denoised, "uncond_denoised": denoised, "cond_denoised": denoised,
                                 "input": x, "sigma": sigma, "model_options": model_options})  # fmt: skip
        return denoised


class Counter:
    """Dry runs for one model's kind. Each schedule of each entry is run once."""

    def __init__(self, model_sampling: Any, schedule: Schedule) -> None:
        self._model_sampling = model_sampling
        self._schedule = schedule
        self._known: dict[tuple[Entry, int], int] = {}

    def plans(self, entry: Entry, budgets: Sequence[int]) -> list[Plan]:
        """One for each budget; of a sampler that chooses its own steps only one, for the largest.

        Raises ValueError, with what the sampler says, for one that cannot run with its options.
        """
        largest = max(budgets)
        fewer = torch.tensor(resample(self._schedule(entry.name, 12).tolist(), 4))
        if self._sample(entry, fewer, 0)[1] == self._calls(entry, 12):
            return [Plan(entry, largest, self._schedule(entry.name, largest), self._calls(entry, largest), True)]
        return [self._plan(entry, budget) for budget in budgets]

    def _plan(self, entry: Entry, budget: int) -> Plan:
        """The longest run of at most `budget` calls."""
        calls = self._calls(entry, budget)
        steps = budget if calls <= budget else max(budget * budget // calls, 1)
        while steps > 1 and self._calls(entry, steps) > budget:
            steps -= 1
        while steps < budget and self._calls(entry, steps + 1) <= budget:
            steps += 1
        calls = self._calls(entry, steps)
        return Plan(entry, budget, self._schedule(entry.name, steps) if calls <= budget else None, calls)

    def is_stochastic(self, entry: Entry) -> bool:
        """Whether another seed gives another result from the same noise."""
        sigmas = self._schedule(entry.name, 4)
        first, second = (self._sample(entry, sigmas, seed)[0] for seed in (0, 1))
        return not torch.equal(first, second)

    def _calls(self, entry: Entry, steps: int) -> int:
        if (entry, steps) not in self._known:
            self._known[entry, steps] = self._sample(entry, self._schedule(entry.name, steps), 0)[1]
        return self._known[entry, steps]

    def _sample(self, entry: Entry, sigmas: Tensor, seed: int) -> tuple[Tensor, int]:
        model = DryModel(self._model_sampling)
        sampler = entry.make()
        # The noise is the same for any seed; what samplers draw themselves is not, and ComfyUI's own state stays.
        x = sigmas[0] * torch.randn(_SHAPE, generator=torch.Generator().manual_seed(0))
        extra_args: dict[str, Any] = {"model_options": {}, "seed": seed}
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                result = sampler.sampler_function(
                    model, x, sigmas.clone(), extra_args=extra_args, callback=None, disable=True,
                    **sampler.extra_options,
                )  # fmt: skip
        except Exception as error:
            raise ValueError(
                f"ERK-Guid: the line {entry.label!r} of samplers cannot run on this model with {len(sigmas) - 1} "
                f"steps: {type(error).__name__}: {error}"
            ) from error
        return result, model.calls
