"""What guidance is handed, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ..embedded_pair import EmbeddedPair
from ..evaluation import Evaluation
from ..noise_process import NoiseProcess
from ..solvers import History, Solver, Step


@dataclass(frozen=True)
class MadeStep:
    """A solver's unguided step and all that is known when it has been made."""

    solver: Solver
    process: NoiseProcess
    current: Evaluation
    sigma_next: float
    step: Step
    history: History

    def pair(self) -> EmbeddedPair | None:
        return self.solver.pair(self.current, self.step, self.sigma_next, self.history)


class Correction(NamedTuple):
    """What guidance saw, and what it wants added to x_next. None stands for "nothing to tell".

    value        what to add to x_next, [B, ...] float32
    norm         its norm per sample, [B]
    active       which samples are corrected, [B] bool
    stiffness    rho-hat of the step's pair, [B], unit 1/sigma
    h_stiffness  the rule's h times rho-hat, [B], no unit
    """

    value: Tensor | None = None
    norm: Tensor | None = None
    active: Tensor | None = None
    stiffness: Tensor | None = None
    h_stiffness: Tensor | None = None


class Guidance(Protocol):
    """A rule that corrects steps. A value, like a solver: no state between steps."""

    @property
    def mode(self) -> str: ...

    def correct(self, made: MadeStep) -> Correction: ...
