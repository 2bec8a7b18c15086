"""What guidance receives, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ..evaluation import Evaluation
from ..noise_process import NoiseProcess
from ..pair import EmbeddedPair
from ..solvers import NoiseStep, Solver


class Earlier(NamedTuple):
    """A run that ended above sigma 0 and is continued now.

    memory     what its rule shows as ``memory``
    following  noise level at the end of the next step, which its last step was not told; None if there is none
    """

    memory: Any
    following: float | None


@dataclass(frozen=True)
class RunFacts:
    """What stays the same for a whole run.

    shape     shape of the latent, [B, ...]
    observed  whether a trace or a live view is attached; values that only these need are computed only then
    region    where the picture is sampled (1) and where it is kept (0), broadcastable to x
    earlier   the run that this one continues; None: it begins anew
    parts     the shapes, [B, ...] each, of the latents that x packs one after the other; none: it is a latent itself
    """

    solver: Solver
    process: NoiseProcess
    shape: torch.Size
    device: torch.device
    observed: bool = False
    region: Tensor | None = None
    earlier: Earlier | None = None
    parts: tuple[torch.Size, ...] = ()


@dataclass(frozen=True)
class AddedNoise:
    """The noise of a step, which leads from sigma_down to sigma_next.

    how        levels and factors of the step
    amplitude  factor on its standard deviation
    noise      noise of variance 1, [B, ...]
    """

    how: NoiseStep
    amplitude: float
    noise: Tensor

    def added_to(self, x: Tensor) -> Tensor:
        """The state at sigma_down -> the state at sigma_next, in the order of ComfyUI's arithmetic."""
        if self.how.scale != 1:
            x = x * self.how.scale
        return x + self.noise * self.amplitude * self.how.std


@dataclass(frozen=True)
class MadeStep:
    """A solver's step from sigma to sigma_next, and what is known once it has been made.

    following  noise level at the end of the next step; None if this run has none
    start      the evaluation that the step started from
    x_next     the unguided state at sigma_next, [B, ...]
    stages     evaluations made inside the step
    levels     noise levels of the past evaluations that the solver used, newest first
    pair       the step's embedded pair; None if the step has none or the rule does not use pairs
    noise      the noise that x_next contains; None if the step adds none
    """

    sigma: float
    sigma_next: float
    following: float | None
    start: Evaluation
    x_next: Tensor
    stages: tuple[Evaluation, ...]
    levels: tuple[float, ...]
    pair: EmbeddedPair | None
    noise: AddedNoise | None = None


HELD = ("", "repeated", "strayed")
"""Why a rule left a step uncorrected, indexed by its code.

The three codes mean: no reason; the model repeated its output; the run has left its trajectory.
"""


class Correction(NamedTuple):
    """What guidance saw, and what to add to x_next. None means that there is no value.

    value        what to add to x_next, [B, ...] float32; the receiver may change it in place
    norm         its norm per sample, [B]
    active       which samples are corrected, [B] bool
    stiffness    rho-hat of the step's pair, [B], unit 1/sigma
    h_stiffness  the rule's h times rho-hat, [B], no unit
    data_std     estimated S, the scale of the data, [B]; NaN where no S explains the pair (calibrated)
    valid        share of the evidence for which the estimate is possible, 0 to 1, [B] (calibrated)
    believed     share of the claimed correction that was trusted, because of earlier claims, 0 to 1, [B] (calibrated)
    held         index into ``HELD``, [B] (calibrated)
    noise        RMS of the noise that the corrected step adds, [B]
    noise_ratio  the variance of that noise over the variance of the plain step's noise, [B]
    """

    value: Tensor | None = None
    norm: Tensor | None = None
    active: Tensor | None = None
    stiffness: Tensor | None = None
    h_stiffness: Tensor | None = None
    data_std: Tensor | None = None
    valid: Tensor | None = None
    believed: Tensor | None = None
    held: Tensor | None = None
    noise: Tensor | None = None
    noise_ratio: Tensor | None = None

    @classmethod
    def of_pair(cls, pair: EmbeddedPair | None) -> Correction:
        """Only what the step's pair shows."""
        if pair is None:
            return cls()
        stiffness = pair.difference().stiffness
        return cls(stiffness=stiffness, h_stiffness=abs(pair.h) * stiffness)


class Rule(Protocol):
    """A guidance applied to one run. It may remember the run's earlier steps.

    pairs  whether it uses embedded pairs; only then is what they are made of kept

    A rule that remembers may show a ``memory``: tuples of tensors and numbers that it never changes in place. A run
    that continues this one receives it as ``RunFacts.earlier``.
    """

    @property
    def pairs(self) -> bool: ...

    def judge(self, evaluated: Evaluation) -> None:
        """Called before the next step, with the evaluation of the state that the corrected step led to."""
        ...

    def correct(self, made: MadeStep) -> Correction:
        """Called after the solver has made the step."""
        ...


class Guidance(Protocol):
    """A rule that corrects steps. It is a value, like a solver. A run's memory is kept in its :class:`Rule`.

    mode      its name in ``MODES``
    corrects  whether it corrects at all
    options   the names of its settings, which are numbers
    settings  their values, which appear in plot labels, the trace, the CSV file and the live chart

    A rule that can be used with solvers that add noise sets ``knows_noise = True``. :func:`erk.check_noise` refuses
    the others.
    """

    mode: ClassVar[str]
    corrects: ClassVar[bool]
    options: ClassVar[tuple[str, ...]]

    @property
    def settings(self) -> Mapping[str, float]: ...

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Guidance:
        """The rule for a run of ``steps`` steps. It chooses a value for each setting that is not given."""
        ...

    def begin(self, run: RunFacts) -> Rule: ...
