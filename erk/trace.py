"""What a run saw, step by step.

While sampling, values stay where they were computed: recording stores references to small [B]
tensors, and only reading them copies them to the host, all steps in one go.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

Values = list[float]
"""One value per sample; NaN where a step has none (its solver had no embedded pair yet)."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a run.

    index        0, 1, ...
    sigma        noise level at its start
    sigma_next   noise level at its end
    stiffness    rho-hat per sample, unit 1/sigma
    h_stiffness  the rule's h times rho-hat, no unit
    active       which samples were corrected
    correction   size of the correction over the size of the unguided step, |dx_guid| / |x_next - x|
    model_calls  model calls so far, this step included
    """

    index: int
    sigma: float
    sigma_next: float
    stiffness: Values
    h_stiffness: Values
    active: list[bool]
    correction: Values
    model_calls: int


@dataclass(frozen=True)
class RunInfo:
    """What was run: enough to label a plot and to run it again."""

    solver: str
    mode: str
    model: str
    sigmas: list[float]
    w_stiff: float | None = None
    w_con: float | None = None


@dataclass
class _RawStep:
    sigma: float
    sigma_next: float
    model_calls: int
    values: Tensor
    """[4, B]: stiffness, h * stiffness, active, relative correction"""


@dataclass
class Trace:
    """The record of the newest run of a sampler; a new run begins it anew."""

    info: RunInfo | None = None
    _raw: list[_RawStep] = field(default_factory=list, repr=False)

    def begin(self, info: RunInfo) -> None:
        """Forget the run before, so that a cached trace never mixes two."""
        self.info = info
        self._raw = []

    def record(
        self,
        x: Tensor,
        x_next: Tensor,
        sigma: float,
        sigma_next: float,
        model_calls: int,
        stiffness: Tensor | None,
        h_stiffness: Tensor | None,
        active: Tensor | None,
        correction_norm: Tensor | None,
    ) -> None:
        """Store a step without reading anything back. x_next is the unguided state."""
        none = torch.full((x.shape[0],), math.nan, device=x.device, dtype=torch.float32)
        zero = torch.zeros_like(none)
        relative = zero
        if correction_norm is not None:
            step_norm = torch.linalg.vector_norm((x_next - x).flatten(1), dim=1, dtype=torch.float32)
            relative = torch.where(correction_norm > 0, correction_norm / step_norm, zero)
        values = torch.stack(
            [
                none if stiffness is None else stiffness,
                none if h_stiffness is None else h_stiffness,
                zero if active is None else active.float(),
                relative,
            ]
        )
        self._raw.append(_RawStep(sigma, sigma_next, model_calls, values))

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def steps(self) -> list[StepRecord]:
        """The steps so far, copied to the host at once."""
        if not self._raw:
            return []
        values = torch.stack([raw.values for raw in self._raw]).cpu().tolist()
        return [
            StepRecord(
                index=i,
                sigma=raw.sigma,
                sigma_next=raw.sigma_next,
                stiffness=stiffness,
                h_stiffness=h_stiffness,
                active=[flag > 0 for flag in active],
                correction=correction,
                model_calls=raw.model_calls,
            )
            for i, (raw, (stiffness, h_stiffness, active, correction)) in enumerate(zip(self._raw, values, strict=True))
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; values that are not finite become None, for JSON has no word for them."""
        info = None if self.info is None else {f.name: getattr(self.info, f.name) for f in fields(RunInfo)}
        steps = [{f.name: getattr(step, f.name) for f in fields(StepRecord)} for step in self.steps]
        return _finite({"run": info, "steps": steps})

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps(self.as_dict(), indent=indent)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
