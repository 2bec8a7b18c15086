"""What a solver is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..evaluation import Denoise, Evaluation
from ..noise_process import SIGMA_SPACE, NoiseProcess
from ..pair import EmbeddedPair


class Step(NamedTuple):
    """What a solver's step gives.

    x_next  the unguided state at sigma_next, [B, ...]
    stages  evaluations made inside the step, beside the one at its start
    """

    x_next: Tensor
    stages: tuple[Evaluation, ...] = ()


History = Sequence[Evaluation]
"""The last evaluation of each earlier step (of a step without stages: what was accepted), newest first: as many as
``Solver.memory``, and the newest for ``Solver.pair`` where that looks back; at the start fewer."""


@dataclass(frozen=True)
class Solver(ABC):
    """A one-step or multistep method for dx/dsigma = d(x, sigma).

    A solver is a value: no state lives in it between steps or runs. Its arithmetic is elementwise or, where it must
    weigh states, sample by sample, so it runs on tensors [B, ...] of any shape. All that others know of it stands in
    its class.

    name             behind ``erk_`` in ComfyUI's list
    title            for people, in plots and pages
    calls            model calls a step; the last step, to sigma 0, makes one
    past_states      whether ``step`` and ``accept`` look at the states of past evaluations too, or at their drifts
                     alone
    pair_looks_back  whether ``pair`` looks at the newest past evaluation
    corrects         whether ``accept`` makes a state anew that has been evaluated
    process          of the model that is sampled
    """

    name: ClassVar[str]
    title: ClassVar[str]
    calls: ClassVar[int]
    past_states: ClassVar[bool] = True
    pair_looks_back: ClassVar[bool] = False
    corrects: ClassVar[bool] = False
    process: NoiseProcess = SIGMA_SPACE

    @property
    @abstractmethod
    def order(self) -> int:
        """Of the error at the end, after a warm-up."""

    @property
    def memory(self) -> int:
        """How many past evaluations ``step`` and ``accept`` look at."""
        return 0

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        """The state that a step starts from, and its drift, once the predicted state has been evaluated.

        A predictor-corrector method makes the state anew here, with what the evaluation tells; others
        take it as it is. No model call.
        """
        return evaluated

    @abstractmethod
    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        """From ``current`` to ``sigma_next``. A step to 0 is a plain Euler step."""

    @abstractmethod
    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        """The embedded pair of a step just made; None where there is none yet."""
