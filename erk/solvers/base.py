"""What a solver is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from ..embedded_pair import EmbeddedPair
from ..evaluation import Denoise, Evaluation


class Step(NamedTuple):
    """What a solver's step gives.

    x_next  the unguided state at sigma_next, [B, ...]
    stages  evaluations made inside the step, beside the one at its start
    """

    x_next: Tensor
    stages: tuple[Evaluation, ...] = ()


History = Sequence[Evaluation]
"""The last evaluation of each earlier step, newest first; as long as ``Solver.memory`` at most."""


class Solver(Protocol):
    """A one-step or multistep method for dx/dsigma = d(x, sigma).

    A solver is a value: no state lives in it between steps or runs. ``step`` does elementwise
    arithmetic only, so it runs on tensors of any shape.

    name    as in ``SOLVERS``
    memory  how many past evaluations it wants to see
    """

    @property
    def name(self) -> str: ...

    @property
    def memory(self) -> int: ...

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        """From ``current`` to ``sigma_next``. A step to 0 is a plain Euler step."""
        ...

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        """The embedded pair of a step just made; None where there is none yet."""
        ...
