"""What was measured in a run, step by step.

During sampling, values stay on the device that computed them. Recording only stores references to small
tensors. Reading a trace copies the values of all steps to the host at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .error import error_at
from .evaluation import Evaluation
from .guidance import HELD, SETTINGS, Correction
from .norms import norm
from .probe import probe
from .solvers import NOISY, SOLVERS

Values = list[float]
"""One value per sample; NaN if a step has none (its solver had no embedded pair yet)."""


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
    data_std     estimated S, the scale of the data; NaN where no S explains the pair (mode calibrated)
    valid        share of the evidence for which that estimate is possible, 0 to 1 (mode calibrated)
    believed     share of the claimed correction that was trusted, because of earlier claims, 0 to 1 (mode calibrated)
    held         why the step was left uncorrected (mode calibrated): "repeated" if the model repeated its last output
                 or its last difference from the input, as step caches do; "strayed" if the error of a step has been as
                 large as the step; otherwise ""
    error        what the step's own error leaves in the finished picture, divided by the picture's contrast; estimated
                 afterwards (:mod:`erk.error`), in every mode; NaN where it cannot be told
    noise        RMS of the noise that the step added, in the unit of the latent; NaN if it added none
    noise_ratio  the variance of that noise over the variance of the plain step's noise; NaN if that added none
    """

    index: int
    sigma: float
    sigma_next: float
    stiffness: Values
    h_stiffness: Values
    active: list[bool]
    correction: Values
    model_calls: int
    data_std: Values
    valid: Values
    believed: Values
    held: list[str]
    error: Values = field(default_factory=list)
    noise: Values = field(default_factory=list)
    noise_ratio: Values = field(default_factory=list)


QUANTITIES = (
    *("active", "correction", "stiffness", "h_stiffness", "data_std", "valid", "believed", "held"),
    *("noise", "noise_ratio"),
)
"""What is measured in a step, by the names of :class:`StepRecord`. ``held`` is an index into ``HELD``."""


@dataclass(frozen=True)
class RunInfo:
    """What was run. This is enough to label a plot and to repeat the run.

    settings   the guidance's settings, by name
    sigma_min  the model's lowest noise level, if known
    """

    solver: str
    mode: str
    model: str
    sigmas: list[float]
    settings: Mapping[str, float] = field(default_factory=dict)
    sigma_min: float | None = None

    @property
    def title(self) -> str:
        """The solver's title, for display."""
        solver = SOLVERS.get(self.solver) or NOISY.get(self.solver)
        return solver.title if solver else self.solver

    @property
    def order(self) -> int:
        """The solver's order, as it is unless another is asked for."""
        solver = SOLVERS.get(self.solver)
        return solver().order if solver else 1

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with the settings of all rules. Settings that this rule does not have are None."""
        known = {name: self.settings.get(name) for name in SETTINGS}
        return {"solver": self.solver, "mode": self.mode, "model": self.model, "sigmas": self.sigmas, **known}


@dataclass(frozen=True)
class MeasuredStep:
    """One step of a run. Its values are still on the device that computed them.

    values  [quantities, B] float32: a row for each of ``QUANTITIES``
    errors  with the run's last step: of all steps, [steps, B]
    """

    index: int
    sigma: float
    sigma_next: float
    model_calls: int
    values: Tensor
    errors: Tensor | None = None

    def run_error(self) -> Values:
        """Of the run, with its last step, as :attr:`Trace.error`; nothing before. It waits for the device."""
        return [] if self.errors is None else total_error(self.errors.cpu().tolist())

    def to_record(self, values: list[Values], error: Values | None = None) -> StepRecord:
        """The step as a record, made from its values on the host and its own error."""
        measured: dict[str, Any] = dict(zip(QUANTITIES, values, strict=True))
        measured["error"] = error or [math.nan] * len(values[0])
        measured["active"] = [flag > 0 for flag in measured["active"]]
        measured["held"] = [HELD[int(code)] if code in range(len(HELD)) else "" for code in measured["held"]]
        return StepRecord(self.index, self.sigma, self.sigma_next, model_calls=self.model_calls, **measured)


class Observer(Protocol):
    """Something that receives a run while it goes on.

    The run waits for it, so it must neither raise an error nor wait for the device.
    """

    def begin(self, info: RunInfo) -> None: ...

    def record(self, step: MeasuredStep) -> None: ...


def measure(x: Tensor, x_next: Tensor, correction: Correction) -> Tensor:
    """The values of a step, as in :class:`MeasuredStep`. x_next is the unguided state. Nothing is read back."""
    unknown = torch.full((x.shape[0],), math.nan, device=x.device, dtype=torch.float32)
    zero = torch.zeros_like(unknown)
    relative = zero
    if correction.norm is not None:
        relative = torch.where(correction.norm > 0, correction.norm / norm(x_next - x), zero)

    def row(name: str) -> Tensor:
        if name == "correction":
            return relative
        value = getattr(correction, name)
        if value is None:
            return zero if name in ("active", "held") else unknown
        return value.float()

    return torch.stack([row(name) for name in QUANTITIES])


class Prediction(NamedTuple):
    """What is kept of a level's prediction: enough to plan a schedule.

    denoised  some numbers of D, [B, n] float32, on its device
    """

    sigma: float
    denoised: Tensor


KEPT = 2**16
"""How many numbers of a level's predictions are kept, of all samples together, at most: 256 kilobytes."""


@dataclass(eq=False)  # two traces are never equal, whatever they hold
class Trace:
    """The record of a sampler's newest run. A new run replaces it."""

    info: RunInfo | None = None
    keep: bool = False
    predictions: list[Prediction] = field(default_factory=list, repr=False)
    _measured: list[MeasuredStep] = field(default_factory=list, repr=False)

    def begin(self, info: RunInfo) -> None:
        """Forget the last run, so that a cached trace never mixes two runs."""
        self.info = info
        self.predictions, self._measured = [], []

    def look(self, evaluated: Evaluation) -> None:
        """Keep what is asked for of a level's prediction. Nothing waits for the device."""
        if self.keep:
            most = max(KEPT // len(evaluated.x), 1)
            x, d = probe(evaluated.x, most), probe(evaluated.d, most)
            self.predictions.append(Prediction(evaluated.sigma, x - evaluated.sigma * d))

    def record(self, step: MeasuredStep) -> None:
        """Store a step without reading anything back."""
        self._measured.append(step)

    def __len__(self) -> int:
        return len(self._measured)

    @property
    def steps(self) -> list[StepRecord]:
        """The steps so far, all copied to the host at once."""
        if not self._measured:
            return []
        values = torch.stack([step.values for step in self._measured]).cpu().tolist()
        errors = self._measured[-1].errors
        told: list[Values | None] = [None] * len(self._measured) if errors is None else errors.cpu().tolist()
        return [step.to_record(rows, error) for step, rows, error in zip(self._measured, values, told, strict=True)]

    @property
    def error(self) -> Values:
        """The solver's estimated error in the finished picture, over its contrast, per sample; see :mod:`erk.error`.

        NaN where it cannot be estimated: a run of one step or not finished, a schedule that rises, a model that
        repeated its output (step caches).
        """
        return total_error([step.error for step in self.steps])

    def error_at(self, steps: int) -> Values:
        """What ``error`` would be with another number of steps of the same schedule: a guess by the solver's order."""
        order = self.info.order if self.info is not None else 1
        return [error_at(error, len(self), steps, order) for error in self.error]

    def as_dict(self) -> dict[str, Any]:
        """Plain data. Values that are not finite become None, because JSON cannot express them."""
        info = None if self.info is None else self.info.as_dict()
        steps = [{f.name: getattr(step, f.name) for f in fields(StepRecord)} for step in self.steps]
        return json_safe({"run": info, "error": self.error, "steps": steps})

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps(self.as_dict(), indent=indent)


def total_error(errors: Sequence[Values]) -> Values:
    """Of a run, from those of its steps: NaN where the last step could not be judged."""
    if not errors:
        return []
    return [
        math.fsum(error for error in sample if not math.isnan(error)) if not math.isnan(sample[-1]) else math.nan
        for sample in zip(*errors, strict=True)
    ]


def json_safe(data: Any) -> Any:
    """Plain data, with None for values that are not finite, because JSON cannot express them."""
    if isinstance(data, dict):
        return {key: json_safe(value) for key, value in data.items()}
    if isinstance(data, list):
        return [json_safe(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
