from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..evaluation import Denoise, Evaluation, add_scaled
from ..norms import inner, norm, per_sample
from .base import History, Step
from .multistep import Multistep, data_weights, distinct, drift_weights

DAMPING = 2.0
"""How often Picard's next iteration would undo its share of the corrector's move: in the state, and in its D."""

CURVATURE = 0.1
"""Largest share of a step that D's curvature may add to the prediction.

D's third derivative may add this share of that again.
"""

TOLERANCE = 1.25
"""|D| counts as having fallen where this times |D| is less than the |D| before."""


class Course(NamedTuple):
    """An evaluation's D and d, and how D has gone in the step before. None: no step shows it yet.

    size         |D|, or on an ascending step |d|, before the state was corrected, [B]
    speed        |d|, [B]
    change       D minus the D before, or on an ascending step d minus the d before, [B, ...]
    length       its norm, [B]
    steadiness   from 0, where D turned back, to 1, where it went on, [B]; two steps show it
    persistence  from 0, where D collapsed, to 1, where it kept its size, [B]; None on an ascending step
    """

    size: Tensor
    speed: Tensor
    change: Tensor | None = None
    length: Tensor | None = None
    steadiness: Tensor | None = None
    persistence: Tensor | None = None


@dataclass(frozen=True)
class ABM(Multistep):
    """Adams-Bashforth-Moulton on the data prediction, one model call. Order 2 to 4 after a warm-up.

    The step from s to t has the exact form x_t = (t/s) x_s - t * integral from s to t of D/sigma^2 dsigma. In it,
    nothing but D itself is stiff (Lu et al. 2022, DPM-Solver++, eq. 8). D is interpolated by a polynomial in
    sigma/alpha through the newest evaluations. The state at t is first *predicted* without the evaluation at t. Then
    the model is evaluated at the predicted state, and the state is *corrected* with that evaluation. UniPC (Zhao et
    al. 2023) does the same in half-logSNR. On ascending steps, from little noise to much, the drift is interpolated
    instead, as DEIS does. This solver is neither in the paper nor in ComfyUI.

    With strong CFG and long steps, a corrector would feed the model's steep response back into the state, until
    values explode. So the corrector is damped according to how fast it converges. What the predictor adds to a
    straight line is bounded. And changes of D are followed less where D swings to and fro from step to step
    (:func:`_steadiness`) or collapses (:func:`_persistence`). All of this is done for each sample.
    """

    name: ClassVar[str] = "abm"
    title: ClassVar[str] = "ABM"
    corrects: ClassVar[bool] = True

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        if not history or evaluated.sigma <= 0:
            return evaluated
        start, sigma = history[0], evaluated.sigma
        if sigma == start.sigma:
            d = add_scaled(evaluated.d, start.x - evaluated.x, 1.0 / sigma)
            return start._replace(d=d)
        points, ascending = distinct((evaluated, *history)[: self.max_order]), sigma > start.sigma
        newest, last = _interpolated(evaluated, ascending), _interpolated(start, ascending)
        before = start.course or Course(norm(last), norm(start.d))
        changes = [newest - last, *_changes(points[1:], ascending)]
        del last
        size, length = norm(newest), norm(changes[0])
        steadiness = _steadiness(changes, length, before.length) if len(changes) > 1 else None
        persistence = None if ascending else _persistence(size, before.size)
        of_newest, *of_changes = self._weights(points, start.sigma, sigma)
        # how far the predicted state is beyond where the step ends with the new D
        own = 1.0 if ascending else sigma / start.sigma
        excess = torch.sub(evaluated.x.to(newest.dtype), start.x.to(newest.dtype), alpha=own)
        for part, weight in zip((newest, *changes), (of_newest, *of_changes), strict=True):
            add_scaled(excess, part, -weight, out=excess)
        del newest
        # D has been evaluated at the predicted state. |excess|/|step| is the convergence rate of Picard's iteration:
        # the share of this move that the next one would undo, once in the state and once in the D that is kept with it.
        share = before.speed / torch.add(before.speed, norm(excess), alpha=DAMPING / abs(sigma - start.sigma))
        share = share.nan_to_num(1.0)  # 1/(1 + 2 |excess|/|step|)
        if steadiness is not None:
            share.mul_(_larger(steadiness, before.steadiness))
        excess.mul_(per_sample(share, excess))
        if persistence is not None and start.course is None:
            # as far as D has collapsed in the run's first step, from there on to backward Euler
            excess.addcmul_(changes[0], per_sample(1.0 - persistence, excess).to(excess.dtype), value=of_changes[0])
        d = add_scaled(evaluated.d, excess, -1.0 / sigma)
        course = Course(size, norm(d), changes[0], length, steadiness, persistence)
        return Evaluation(evaluated.x - excess, sigma, d, course)

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        points = distinct((current, *history)[: self.max_order])
        if sigma_next in (0.0, current.sigma) or len(points) < 2:
            return Step(current.euler(sigma_next))
        changes, course = _changes(points, sigma_next > current.sigma), current.course
        x_next = add_scaled(current.x, current.d, sigma_next - current.sigma)
        lower, limit = self._weights(points[:2], current.sigma, sigma_next), abs(sigma_next - current.sigma)
        followed = _followed(course, points[1].course)
        if followed is None:
            add_scaled(x_next, changes[0], lower[1], out=x_next)
        else:
            x_next.addcmul_(changes[0], per_sample(followed, x_next).to(x_next.dtype), value=lower[1])
        speed = norm(current.d) if course is None else course.speed
        for order in range(3, len(points) + 1):
            higher, limit = self._weights(points[:order], current.sigma, sigma_next), CURVATURE * limit
            first, *others = (more - less for more, less in itertools.zip_longest(higher[1:], lower[1:], fillvalue=0.0))
            term = first * changes[0]
            for change, weight in zip(changes[1:], others, strict=False):
                add_scaled(term, change, weight, out=term)
            share = (speed / norm(term)).clamp(max=1.0 / limit).nan_to_num(1.0 / limit)
            if course is not None and course.steadiness is not None:
                share.mul_(course.steadiness ** (order - 1))  # the term is a difference of changes of D
            # x_next + term, with the term's norm at most limit |step|
            x_next.addcmul_(term, per_sample(share, term), value=limit)
            lower = higher
        return Step(x_next)

    def kept(self, past: Evaluation, age: int) -> Evaluation:
        if age == 1 or past.course is None:
            return past
        none = past.x.new_empty(0)  # of older ones, only how D has gone counts
        return Evaluation(none, past.sigma, none, past.course if age < self.memory else None)

    def _weights(self, points: Sequence[Evaluation], sigma: float, sigma_next: float) -> tuple[float, ...]:
        """Weights in a step, with an interpolation through all points: of the newest value, and of the changes.

        The values and their changes are those of :func:`_changes`.
        """
        sigmas = tuple(point.sigma for point in points)
        of_values = (
            drift_weights(sigmas, sigma, sigma_next)
            if sigma_next > sigma
            else data_weights(self.process, sigmas, sigma, sigma_next)
        )
        # sum w_j v_j = (w_0 + w_1 + ...) v_0 - (w_1 + w_2 + ...) (v_0 - v_1) - (w_2 + ...) (v_1 - v_2) - ...
        *of_changes, of_newest = itertools.accumulate(reversed(of_values))
        return (of_newest, *(-weight for weight in reversed(of_changes)))


def _interpolated(point: Evaluation, ascending: bool) -> Tensor:
    """D, or on an ascending step d.

    There, x_next = (t/s) x - ... would be the difference of two numbers that are t/s times as large as x itself.
    """
    return point.d if ascending else point.denoised


def _changes(points: Sequence[Evaluation], ascending: bool) -> list[Tensor]:
    """The changes of what is interpolated, from each older point to the next, newest first: as noted, or else computed.

    They must not be changed in place.
    """
    return [
        _interpolated(newer, ascending) - _interpolated(older, ascending)
        if newer.course is None
        else newer.course.change
        for newer, older in itertools.pairwise(points)
    ]


def _steadiness(changes: Sequence[Tensor], length: Tensor, before: Tensor | None) -> Tensor:
    """1 + the cosine between the last two changes, between 0 and 1, [B]. Their norms may be known.

    With strong CFG, D falls steeply where x rises, and methods of high order swing from step to step. A single turn
    may be a jump, as where guidance begins or ends. So it costs the curve, but the line and the corrector only lose
    their share where D turns twice in a row.
    """
    cosine = inner(changes[0], changes[1]) / (length * (norm(changes[1]) if before is None else before))
    return cosine.add_(1.0).clamp_(0.0, 1.0).nan_to_num_(1.0)


def _persistence(size: Tensor, before: Tensor) -> Tensor:
    """How much of |D| is left after its last change, between 0 and 1, [B].

    A mean of possible pictures, E[x_0 | x], gains contrast as x tells more: on average, its norm never falls. Strong
    CFG drives D far beyond the data as long as the prompt is not met. Once it is, D collapses, and no line goes on
    from there. A run's first D collapses as soon as x moves, so the next one holds for the whole first step. Later, D
    may have jumped anywhere in a step, as where guidance ends. So a single fall costs the line only in the first step.
    """
    return (size / before).mul_(TOLERANCE).clamp_(max=1.0).nan_to_num_(1.0)


def _followed(course: Course | None, before: Course | None) -> Tensor | None:
    """The share of D's last change that the line goes on for, [B]; None: all of it."""
    if course is None:
        return None
    share = None
    if course.persistence is not None:
        share = _larger(course.persistence, None if before is None else before.persistence) ** 3
    if course.steadiness is not None:
        steady = _larger(course.steadiness, None if before is None else before.steadiness)
        share = steady if share is None else share.mul_(steady)
    return share


def _larger(now: Tensor, earlier: Tensor | None) -> Tensor:
    """This evaluation's, or the earlier one's if that is larger."""
    return now if earlier is None else torch.maximum(now, earlier)
