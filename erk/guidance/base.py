"""What guidance is handed, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ..evaluation import Evaluation
from ..noise_process import NoiseProcess
from ..pair import EmbeddedPair
from ..solvers import Solver


@dataclass(frozen=True)
class RunFacts:
    """What holds for a whole run.

    shape     of the latent, [B, ...]
    observed  whether somebody looks on (a trace, a live view): what only they want to know is then worked out
    region    where the picture is being sampled at all (1) and where it is kept (0), broadcastable to x
    """

    solver: Solver
    process: NoiseProcess
    shape: torch.Size
    device: torch.device
    observed: bool = False
    region: Tensor | None = None


@dataclass(frozen=True)
class MadeStep:
    """A solver's step from sigma to sigma_next, and what is known when it has been made.

    following  noise level that the next step leads to; None: there is no next step
    start      what the step started from
    x_next     the unguided state at sigma_next, [B, ...]
    stages     evaluations made inside the step
    levels     noise levels of the past evaluations that the solver looked at, newest first
    pair       the step's embedded pair, for a rule that looks at pairs; None too where the step has none
    """

    sigma: float
    sigma_next: float
    following: float | None
    start: Evaluation
    x_next: Tensor
    stages: tuple[Evaluation, ...]
    levels: tuple[float, ...]
    pair: EmbeddedPair | None


HELD = ("", "repeated", "strayed")
"""Why a rule leaves a step plain, by its code: it does not; the model repeated its output; the run has left its
trajectory.
"""


class Correction(NamedTuple):
    """What guidance saw, and what it wants added to x_next. None stands for "nothing to tell".

    value        what to add to x_next, [B, ...] float32; whoever receives it may change it
    norm         its norm per sample, [B]
    active       which samples are corrected, [B] bool
    stiffness    rho-hat of the step's pair, [B], unit 1/sigma
    h_stiffness  the rule's h times rho-hat, [B], no unit
    data_std     estimated S, the scale of the data, [B]; NaN where no S explains the pair (calibrated)
    valid        share of the evidence for which the estimate is possible, 0 to 1, [B] (calibrated)
    believed     share of the claimed correction that earlier claims had earned trust for, 0 to 1, [B] (calibrated)
    held         code of ``HELD``, [B] (calibrated)
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


class Rule(Protocol):
    """A guidance at work on one run; it may look back on the run's earlier steps.

    pairs  whether it looks at embedded pairs: what they are made of is kept for it then
    """

    @property
    def pairs(self) -> bool: ...

    def judge(self, evaluated: Evaluation) -> None:
        """Called before the next step, with the evaluation of the state that the last one and its correction led to."""
        ...

    def correct(self, made: MadeStep) -> Correction:
        """Called when the solver has made the step."""
        ...


class Guidance(Protocol):
    """A rule that corrects steps. A value, like a solver: what a run must remember lives in its :class:`Rule`.

    mode      its name among ``MODES``
    corrects  whether it corrects at all
    options   the names of its settings, which are numbers
    settings  their values: they label plots, and go into trace, CSV and the live chart
    """

    mode: ClassVar[str]
    corrects: ClassVar[bool]
    options: ClassVar[tuple[str, ...]]

    @property
    def settings(self) -> Mapping[str, float]: ...

    @classmethod
    def of(cls, settings: Mapping[str, float], steps: int) -> Guidance:
        """The rule for a run of so many steps; what is not among the settings, it chooses itself."""
        ...

    def begin(self, run: RunFacts) -> Rule: ...
