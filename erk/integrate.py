"""The run: a model, a solver and a guidance follow a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .error import StepErrors
from .evaluation import Evaluation
from .guidance import Correction, Guidance, MadeStep, RunFacts
from .history import History
from .inputs import check_schedule
from .noise_process import NoiseProcess
from .precision import Precision, corrected
from .solvers import Solver, Step
from .trace import MeasuredStep, Observer, RunInfo, Trace, measure

Model = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], sigma [B]) -> denoised [B, ...]"""

Report = Callable[[int, Tensor, Tensor], None]
"""(index of the step, x, denoised), called once per step, before the step is made"""


@torch.no_grad()
def integrate(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    solver: Solver,
    guidance: Guidance,
    process: NoiseProcess,
    *,
    report: Report | None = None,
    trace: Trace | None = None,
    watch: Observer | None = None,
    progress: Callable[[int], Iterable[int]] = range,
    region: Tensor | None = None,
    sigma_min: float | None = None,
) -> Tensor:
    """Solve dx/dsigma = (x - D(x, sigma)) / sigma from sigmas[0] to sigmas[-1].

    x         [B, ...], any rank from 2 upwards, any floating dtype; the result has the same shape and dtype
    sigmas    [n + 1] noise levels, descending to sample or ascending to invert; a repeated level is a
              step of length zero; with one level or none, x is returned unchanged
    trace     records what was measured
    watch     receives each step while the run goes on, in addition to the trace
    progress  turns the number of steps into an iterable of their indices (a progress bar)
    region    where the picture is sampled (1) and where it is kept (0), for inpainting; broadcastable
              to x. Guidance measures and corrects only the sampled part
    sigma_min the model's lowest noise level; a trace remembers it, so that no schedule is planned below it

    Noise levels are read from the device once, before the first step. After that, nothing here waits
    for the device. Raises ValueError for a schedule that no solver can follow, before any model call.
    """
    schedule = check_schedule(sigmas)
    observers = [observer for observer in (trace, watch) if observer is not None]
    info = RunInfo(solver.name, guidance.mode, process.name, schedule, dict(guidance.settings), sigma_min)
    for observer in observers:
        observer.begin(info)
    if len(schedule) < 2:
        return x
    run = _Run(model, x, schedule, solver, guidance, process, report, trace, observers, region)
    for i in progress(len(schedule) - 1):
        run.advance(i)
    return run.x


class _Run:
    """One method for each thing that happens in a step.

    x  the state, [B, ...]
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        schedule: list[float],
        solver: Solver,
        guidance: Guidance,
        process: NoiseProcess,
        report: Report | None,
        trace: Trace | None,
        observers: list[Observer],
        region: Tensor | None,
    ) -> None:
        self.x = x
        self._model, self._schedule, self._solver = model, schedule, solver
        self._report, self._trace, self._observers = report, trace, observers
        self._errors = StepErrors(process, schedule, region) if observers else None
        self._precision, self._calls = Precision(x.dtype, guidance.corrects), 0
        looked_at = bool(observers) or guidance.corrects
        self._rule = (
            guidance.begin(RunFacts(solver, process, x.shape, x.device, bool(observers), region)) if looked_at else None
        )
        self._history = History(solver, paired=self._rule is not None and self._rule.pairs)

    def advance(self, i: int) -> None:
        """Go from the state at one noise level to the state at the next."""
        current = self._accept(i, self._evaluate(i))
        if self._errors is not None:
            self._errors.look(i, current)
        if self._trace is not None:
            self._trace.look(current)
        step = self._solver.step(self._denoise, current, self._schedule[i + 1], self._history.points)
        if self._schedule[i + 1] == self._schedule[i]:
            # There is nothing to integrate. The model was called as often as in other steps, but the latent
            # must not change, and a second evaluation at the same level must not enter the history.
            self._tell(i, self.x, Correction(), self.x)
        else:
            self.x = self._precision.state(self._correct(i, self._made(i, current, step)))

    def _call(self, x: Tensor, sigma: float) -> Tensor:
        self._calls += 1
        return self._model(x, x.new_full((x.shape[0],), sigma))

    def _evaluate(self, i: int) -> Evaluation:
        """The evaluation at the start of a step."""
        denoised = self._call(self.x, self._schedule[i])
        if self._report is not None:
            self._report(i, self.x, denoised)
        return self._precision.evaluation(self.x, self._schedule[i], denoised)

    def _denoise(self, x: Tensor, sigma: float) -> Evaluation:
        """The evaluation of a stage."""
        x = self._precision.state(x)
        return self._precision.evaluation(x, sigma, self._call(x, sigma))

    def _accept(self, i: int, evaluated: Evaluation) -> Evaluation:
        """What the step starts from. The rule judges it, and a predictor-corrector solver corrects it."""
        moves = self._schedule[i + 1] != self._schedule[i]
        if self._rule is not None and moves:
            self._rule.judge(evaluated)
        current = self._solver.accept(evaluated, self._history.points)
        if current.x.dtype is not self._precision.latent:
            current = current._replace(x=self._precision.state(current.x))
        if moves and not self._observers:  # observers compare with the state before it was corrected
            self.x = current.x
        return current

    def _made(self, i: int, current: Evaluation, step: Step) -> MadeStep:
        """The step as guidance sees it. This also adds the step to the history."""
        sigma, sigma_next = self._schedule[i : i + 2]
        following = next((level for level in self._schedule[i + 2 :] if level != sigma_next), None)
        paired = self._rule is not None and self._rule.pairs
        pair = self._solver.pair(current, step, sigma_next, self._history.points) if paired else None
        made = MadeStep(sigma, sigma_next, following, current, step.x_next, step.stages, self._history.levels, pair)
        self._history.remember(step.stages[-1] if step.stages else current)
        return made

    def _correct(self, i: int, made: MadeStep) -> Tensor:
        """The next state."""
        if self._rule is None:
            return made.x_next
        correction = self._rule.correct(made)
        reached = made.x_next if correction.value is None else corrected(made.x_next, correction.value)
        self._tell(i, made.x_next, correction, reached)
        return reached

    def _tell(self, i: int, x_next: Tensor, correction: Correction, reached: Tensor) -> None:
        """Of the unguided state, its correction, and what the two make."""
        if self._errors is None:
            return
        sigma, sigma_next = self._schedule[i : i + 2]
        if i == len(self._schedule) - 2:
            self._errors.finish(reached, sigma_next)
        judged = self._errors.take()
        values = measure(self.x, x_next, correction, [error for _, error in judged])
        step = MeasuredStep(i, sigma, sigma_next, self._calls, values, tuple(index for index, _ in judged))
        for observer in self._observers:
            observer.record(step)
