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
    """The result of a solver's step.

    x_next  the unguided state at sigma_next, [B, ...]
    stages  evaluations made inside the step, without the one at its start
    """

    x_next: Tensor
    stages: tuple[Evaluation, ...] = ()


class NoiseStep(NamedTuple):
    """How a step adds noise: x_next = scale * (the solver's step to sigma_down) + amplitude * std * noise.

    draws  whether the noise sampler is asked at all; at a repeated level it is, for noise of deviation 0
    """

    sigma_down: float
    scale: float
    std: float
    draws: bool


History = Sequence[Evaluation]
"""The last evaluation of each earlier step, newest first. For a step without stages, this is the accepted one.

There are as many as ``Solver.memory``, and fewer at the start. If ``Solver.pair`` looks back, the newest is there too.
"""


@dataclass(frozen=True)
class Solver(ABC):
    """A one-step or multistep method for dx/dsigma = d(x, sigma).

    A solver is a value: it keeps no state between steps or runs. Its arithmetic is elementwise or, where it must
    compare norms, sample by sample. So it runs on tensors [B, ...] of any shape. All that other code knows about a
    solver is in its class.

    name             the part after ``erk_`` in ComfyUI's list
    title            the name in plots and pages
    calls            model calls per step; the last step, to sigma 0, makes one
    pair_looks_back  whether ``pair`` uses the newest past evaluation
    corrects         whether ``accept`` changes a state after it has been evaluated
    process          the noise process of the model
    """

    name: ClassVar[str]
    title: ClassVar[str]
    calls: ClassVar[int]
    pair_looks_back: ClassVar[bool] = False
    corrects: ClassVar[bool] = False
    process: NoiseProcess = SIGMA_SPACE

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of the error at the end, after a warm-up."""

    @property
    def memory(self) -> int:
        """How many past evaluations ``step`` and ``accept`` use."""
        return 0

    @property
    def adds_noise(self) -> bool:
        """Whether its runs add noise."""
        return False

    def kept(self, past: Evaluation, age: int) -> Evaluation:
        """What ``step`` and ``accept`` use of an evaluation that is ``age`` steps old, 1 for the last step's."""
        return past

    def noise_steps(self, schedule: Sequence[float]) -> list[NoiseStep] | None:
        """How each step of the schedule adds noise; None: no step does.

        Raises ValueError for a schedule along which it cannot.
        """
        return None

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        """The state that a step starts from, and its drift, once the predicted state has been evaluated.

        A predictor-corrector method corrects the state here, with the new evaluation. Other methods accept
        it as it is. This makes no model call.
        """
        return evaluated

    @abstractmethod
    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        """Go from ``current`` to ``sigma_next``. A step to 0 is a plain Euler step."""

    @abstractmethod
    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        """The embedded pair of the step just made; None if there is none yet."""
