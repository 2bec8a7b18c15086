"""The loop that drives a solver, its guidance and its trace along a schedule."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .evaluation import Evaluation, corrected, narrowed
from .guidance import Correction, Guidance, MadeStep, Off, Run
from .noise_process import NoiseProcess
from .solvers import Solver
from .trace import MeasuredStep, Observer, RunInfo, Trace, measure

Model = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], sigma [B]) -> denoised [B, ...]"""

Report = Callable[[int, Tensor, Tensor], None]
"""(index of the step, x, denoised), once a step, before the step is made"""


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
) -> Tensor:
    """Solve dx/dsigma = (x - D(x, sigma)) / sigma from sigmas[0] to sigmas[-1].

    x         [B, ...], any rank from 2 on, any floating dtype; the result has the same
    sigmas    [n + 1] noise levels; descending to sample, ascending to invert; a repeated level is a
              step of length zero; one level or none leaves x as it is
    trace     keeps what was seen
    watch     is told of each step as it is made, beside the trace
    progress  turns the number of steps into the iterable of their indices (a progress bar)
    region    where the picture is sampled (1) and where it is kept as it is (0), for inpainting;
              broadcastable to x. Guidance looks and works there alone

    Noise levels are read from the device once, before the first step; after that nothing here waits
    for it. Raises ValueError for a schedule that no solver can follow, before any model call.
    """
    schedule = check_schedule(sigmas)
    steps = len(schedule) - 1
    observers: list[Observer] = [observer for observer in (trace, watch) if observer is not None]
    for observer in observers:
        observer.begin(
            RunInfo(
                solver=solver.name,
                mode=guidance.mode,
                model=process.name,
                sigmas=schedule,
                w_stiff=getattr(guidance, "w_stiff", None),
                w_con=getattr(guidance, "w_con", None),
            )
        )
    if steps < 1:
        return x

    calls, dtype = 0, x.dtype
    # A corrected state may be larger than the plain solver's, and at sigma 1e-4 one of 7 has a drift beyond float16's end:
    # what the plain solver keeps finite must not be lost by guidance.
    guided = not isinstance(guidance, Off)
    wide = torch.float32 if guided and dtype is torch.float16 else dtype
    fit = narrowed if guided else Tensor.to

    def call(x: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        calls += 1
        return model(x, x.new_full((x.shape[0],), sigma))

    def denoise(x: Tensor, sigma: float) -> Evaluation:
        x = fit(x, dtype)
        return Evaluation.at(x, sigma, call(x, sigma), wide)

    def tell(i: int, x: Tensor, x_next: Tensor, correction: Correction) -> None:
        if observers:
            step = MeasuredStep(i, schedule[i], schedule[i + 1], calls, measure(x, x_next, correction))
            for observer in observers:
                observer.record(step)

    observed = bool(observers)
    rule = guidance.begin(Run(solver, process, observed, region)) if observed or not isinstance(guidance, Off) else None
    paired = rule is not None and rule.pairs
    history: deque[Evaluation] = deque(maxlen=max(solver.memory, 1) if paired and solver.pair_looks_back else solver.memory)

    def remember(point: Evaluation) -> None:
        """A state that nobody will look at again is not kept: it is as large as the latent."""
        if not solver.past_states:
            if history:
                history[0] = history[0].drift_only()
            if not paired:
                point = point.drift_only()
        history.appendleft(point)

    for i in progress(steps):
        sigma, sigma_next = schedule[i], schedule[i + 1]
        denoised = call(x, sigma)
        if report is not None:
            report(i, x, denoised)
        evaluated = Evaluation.at(x, sigma, denoised, wide)
        del denoised
        if rule is not None and sigma_next != sigma:
            rule.judge(evaluated)
        current = solver.accept(evaluated, history)
        if current.x.dtype is not dtype:
            current = current._replace(x=fit(current.x, dtype))
        del evaluated
        if not observers and sigma_next != sigma:
            x = current.x  # and no more what it was before
        step = solver.step(denoise, current, sigma_next, history)
        if sigma_next == sigma:
            # Nothing to integrate. The model was called as often as elsewhere, but the latent stays
            # exactly what it is, and a second evaluation at one level stays out of the history.
            tell(i, x, x, Correction())
            continue
        x_next, stages = step
        levels = tuple(point.sigma for point in history)[: solver.memory]
        pair = solver.pair(current, step, sigma_next, history) if paired else None
        following = next((level for level in schedule[i + 2 :] if level != sigma_next), None)
        made = MadeStep(sigma, sigma_next, following, current, x_next, stages, levels, pair)
        remember(stages[-1] if stages else current)
        del step, stages, pair, current
        if not observers:
            del x  # what nobody needs makes room for the correction
        if rule is not None:
            correction = rule.correct(made)
            if observers:
                tell(i, x, x_next, correction)
            if correction.value is not None:
                x_next = corrected(x_next, correction.value)
            del correction
        del made
        x = fit(x_next, dtype)
        del x_next
    return x


def check_schedule(sigmas: Tensor) -> list[float]:
    """The noise levels as floats. Raises ValueError if no solver can follow them."""
    if sigmas.ndim != 1:
        raise ValueError(f"ERK-Guid: sigmas has the shape {tuple(sigmas.shape)}, but must be a list of noise levels, one dimension.")
    levels = sigmas.tolist()
    for level in levels:
        if not math.isfinite(level) or level < 0:
            raise ValueError(f"ERK-Guid: sigmas holds {level}, but noise levels are finite and not negative: check the scheduler.")
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        if sigma == 0 and sigma_next > 0:
            raise ValueError(
                f"ERK-Guid: step {i} starts at sigma 0, where the drift (x - denoised)/sigma is not defined: "
                "start from a small value such as 0.0001 (FlipSigmas does so)."
            )
    return levels
