"""The run: a model, a solver and a guidance follow a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .continuation import Continuation, Predictions, agrees, with_prediction
from .error import StepErrors
from .evaluation import Evaluation
from .guidance import AddedNoise, Correction, Earlier, Guidance, MadeStep, RunFacts
from .history import History
from .inputs import check_noise, check_parts, check_schedule
from .noise_process import NoiseProcess
from .precision import Precision, corrected
from .run_noise import Draw, RunNoise
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
    draw: Draw | None = None,
    earlier: Continuation | None = None,
    hand_on: Callable[[Continuation], None] | None = None,
    parts: Sequence[Sequence[int]] = (),
) -> Tensor:
    """Solve dx/dsigma = (x - D(x, sigma)) / sigma from sigmas[0] to sigmas[-1].

    A solver that adds noise follows an SDE with the same distributions instead.

    x         [B, ...], any rank from 2 upwards, any floating dtype; the result has the same shape and dtype
    sigmas    [n + 1] noise levels, descending to sample or ascending to invert; a repeated level is a
              step of length zero; with one level or none, x is returned unchanged
    trace     records what was measured
    watch     receives each step while the run goes on, in addition to the trace
    progress  turns the number of steps into an iterable of their indices (a progress bar)
    region    where the picture is sampled (1) and where it is kept (0), for inpainting; broadcastable
              to x. Guidance measures and corrects only the sampled part
    sigma_min the model's lowest noise level; a trace remembers it, so that no schedule is planned below it
    draw      makes the noise of a solver that adds some; None: torch's
    earlier   what the run that this one continues has handed on; x must then be the state that it returned
    hand_on   receives what this run knows at its end, if that is above sigma 0
    parts     shapes, [B, ...] each, of the latents that x packs one after the other, as ComfyUI packs a video and its
              sound into [B, 1, N]. Mode calibrated then corrects each by itself

    Noise levels are read from the device once, before the first step. After that, nothing here waits for the device,
    except where another model continues. Raises ValueError for a schedule that the solver cannot follow, for a rule
    that cannot be used with a solver that adds noise, and for an earlier run that does not lead to this one, before any
    model call.
    """
    schedule = check_schedule(sigmas)
    shapes = check_parts(parts, x)
    check_noise(type(solver), guidance)
    noise = RunNoise(solver, schedule, draw or (lambda i: torch.randn_like(x)))
    observers = [observer for observer in (trace, watch) if observer is not None]
    info = RunInfo(solver.name, guidance.mode, process.name, schedule, dict(guidance.settings), sigma_min)
    for observer in observers:
        observer.begin(info)
    if len(schedule) < 2:
        return x
    if earlier is not None:
        earlier.check(x, schedule, solver, guidance.mode, region, shapes)
    known = None if earlier is None else earlier.to(x.device)
    facts = RunFacts(solver, process, x.shape, x.device, bool(observers), region, parts=shapes)
    run = _Run(model, x, schedule, guidance, facts, report, trace, observers, noise, known)
    del known  # the run lets go of what it no longer needs
    for i in progress(len(schedule) - 1):
        run.advance(i)
    if hand_on is not None and schedule[-1] > 0:
        run.hand_on(hand_on)
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
        guidance: Guidance,
        facts: RunFacts,
        report: Report | None,
        trace: Trace | None,
        observers: list[Observer],
        noise: RunNoise,
        earlier: Continuation | None,
    ) -> None:
        self.x, self._noise = x, noise
        self._model, self._schedule, self._solver = model, schedule, facts.solver
        self._report, self._trace, self._observers = report, trace, observers
        # Only a trace shows errors. And no evaluation says where a step that adds noise should have ended.
        judged = trace is not None and not noise.draws
        self._errors = StepErrors(facts.process, schedule, facts.region) if judged else None
        self._precision, self._calls = Precision(x.dtype, guidance.corrects), 0
        self._guidance, self._facts = guidance, facts
        self._begin(earlier)
        self._doubted = earlier is not None and not earlier.same_model

    def _begin(self, earlier: Continuation | None) -> None:
        """With what an earlier run has handed on, or with nothing."""
        facts, points = self._facts, () if earlier is None else earlier.points
        if earlier is not None and earlier.memory is not None:
            facts = replace(facts, earlier=Earlier(earlier.memory, self._after(0)))
        looked_at = facts.observed or self._guidance.corrects
        self._rule = self._guidance.begin(facts) if looked_at else None
        self._history = History(self._solver, self._rule is not None and self._rule.pairs, points)
        self._predictions: Predictions = () if earlier is None else earlier.predictions

    def hand_on(self, hand_on: Callable[[Continuation], None]) -> None:
        """Give away what this run knows, unless it never moved."""
        level = self._schedule[-1]
        before = next((sigma for sigma in reversed(self._schedule) if sigma != level), None)
        if before is not None:
            points, memory = tuple(self._history.points), getattr(self._rule, "memory", None)
            hand_on(
                Continuation(
                    self.x.clone(), (before, level), self._solver, self._guidance.mode, self._facts.region, points,
                    memory, self._predictions, self._facts.parts,
                )
            )  # fmt: skip

    def advance(self, i: int) -> None:
        """Go from the state at one noise level to the state at the next."""
        current = self._accept(i, self._evaluate(i))
        if self._errors is not None:
            self._errors.look(i, current)
        if self._trace is not None:
            self._trace.look(current)
        step = self._solver.step(self._denoise, current, self._noise.level(i), self._history.points)
        noise = self._noise.of_step(i)
        if self._schedule[i + 1] == self._schedule[i]:
            # There is nothing to integrate. The model was called as often as in other steps, but the latent
            # must not change, and a second evaluation at the same level must not enter the history.
            self._tell(i, self.x, Correction(), self.x)
        else:
            self.x = self._precision.state(self._correct(i, self._made(i, current, step, noise)))

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

    def _compare(self, evaluated: Evaluation) -> None:
        """With what an earlier run has seen, if that was of another model; and for a later run to compare."""
        if self._doubted and not agrees(self._predictions, evaluated, self._facts.process, self._facts.region):
            self._begin(None)
        self._doubted = False
        if self._schedule[-1] > 0:
            self._predictions = with_prediction(self._predictions, evaluated)

    def _accept(self, i: int, evaluated: Evaluation) -> Evaluation:
        """What the step starts from. The rule judges it, and a predictor-corrector solver corrects it."""
        self._compare(evaluated)
        moves = self._schedule[i + 1] != self._schedule[i]
        if self._rule is not None and moves:
            self._rule.judge(evaluated)
        current = self._solver.accept(evaluated, self._history.points)
        if current.x.dtype is not self._precision.latent:
            current = current._replace(x=self._precision.state(current.x))
        if moves and not self._observers:  # observers compare with the state before it was corrected
            self.x = current.x
        return current

    def _made(self, i: int, current: Evaluation, step: Step, noise: AddedNoise | None) -> MadeStep:
        """The step as guidance sees it. This also adds the step to the history."""
        sigma, sigma_next = self._schedule[i : i + 2]
        following = self._after(i + 1)
        paired = self._rule is not None and self._rule.pairs and self._history.has_states
        pair = self._solver.pair(current, step, sigma_next, self._history.points) if paired else None
        x_next = step.x_next if noise is None else noise.added_to(step.x_next)
        made = MadeStep(sigma, sigma_next, following, current, x_next, step.stages, self._history.levels, pair, noise)
        self._history.remember(step.stages[-1] if step.stages else current)
        return made

    def _after(self, i: int) -> float | None:
        """The first level after the i-th that differs from it; None: there is none."""
        return next((level for level in self._schedule[i + 1 :] if level != self._schedule[i]), None)

    def _correct(self, i: int, made: MadeStep) -> Tensor:
        """The next state."""
        if self._rule is None:
            return made.x_next
        correction = self._rule.correct(made)
        if made.noise is not None and correction.noise is None:
            same = made.x_next.new_ones(len(made.x_next), dtype=torch.float32)
            plain = made.noise.amplitude * made.noise.how.std
            correction = correction._replace(noise=plain * same, noise_ratio=same)
        reached = made.x_next if correction.value is None else corrected(made.x_next, correction.value)
        self._tell(i, made.x_next, correction, reached)
        return reached

    def _tell(self, i: int, x_next: Tensor, correction: Correction, reached: Tensor) -> None:
        """Of the unguided state, its correction, and what the two make."""
        if not self._observers:
            return
        sigma, sigma_next = self._schedule[i : i + 2]
        errors = None
        if self._errors is not None and i == len(self._schedule) - 2:
            errors = self._errors.finish(reached, sigma_next)
        step = MeasuredStep(i, sigma, sigma_next, self._calls, measure(self.x, x_next, correction), errors)
        for observer in self._observers:
            observer.record(step)
