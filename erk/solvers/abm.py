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


class _Corrected(NamedTuple):
    """What the corrector makes of a new evaluation.

    move         from the predicted state to where the step ends with the new D, [B, ...]
    sudden       from there on to backward Euler, as far as D has collapsed, [B, ...]; None: not the run's first step
    steadiness   as in :class:`Evaluation`
    persistence  as in :class:`Evaluation`
    """

    move: Tensor
    sudden: Tensor | None
    steadiness: Tensor | None
    persistence: Tensor | None


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
            return start._replace(d=add_scaled(evaluated.d, start.x - evaluated.x, 1.0 / sigma))
        points = distinct((evaluated, *history)[: self.max_order])
        move, sudden, steadiness, persistence = self._corrected(points, start, sigma)
        # D has been evaluated at the predicted state. |move|/|step| is the convergence rate of Picard's iteration: the
        # share of this move that the next one would undo, once in the state and once in the D that is kept with it.
        step = norm(start.d)  # divided by the step's length
        share = step / torch.add(step, norm(move), alpha=DAMPING / abs(sigma - start.sigma))
        share = share.nan_to_num(1.0)  # 1/(1 + 2 |move|/|step|)
        if steadiness is not None:
            share.mul_(_larger(steadiness, start.steadiness))
        move.mul_(per_sample(share, move))
        if sudden is not None:
            move.add_(sudden)
        d = add_scaled(evaluated.d, move, 1.0 / sigma)
        return Evaluation(evaluated.x + move, sigma, d, steadiness, persistence)

    def _corrected(self, points: Sequence[Evaluation], start: Evaluation, sigma: float) -> _Corrected:
        ascending = sigma > start.sigma
        newest, changes = _changes(points, ascending)
        steadiness, persistence = _steadiness(changes), None if ascending else _persistence(newest, changes[0])
        of_newest, *of_changes = self._weights(points, start.sigma, sigma)
        own = 1.0 if ascending else sigma / start.sigma
        move = add_scaled(own * start.x.to(newest.dtype), newest, of_newest).sub_(points[0].x)
        del newest
        for change, weight in zip(changes, of_changes, strict=True):
            add_scaled(move, change, weight, out=move)
        sudden = None
        if persistence is not None and start.persistence is None:
            sudden = changes[0].mul_(per_sample((persistence - 1.0) * of_changes[0], move))
        return _Corrected(move, sudden, steadiness, persistence)

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        points = distinct((current, *history)[: self.max_order])
        if sigma_next in (0.0, current.sigma) or len(points) < 2:
            return Step(current.euler(sigma_next))
        changes, steadiness = _changes(points, sigma_next > current.sigma)[1], current.steadiness
        x_next = add_scaled(current.x, current.d, sigma_next - current.sigma)
        lower, limit = self._weights(points[:2], current.sigma, sigma_next), abs(sigma_next - current.sigma)
        followed = _followed(current, points[1])
        if followed is None:
            add_scaled(x_next, changes[0], lower[1], out=x_next)
        else:
            x_next.addcmul_(changes[0], per_sample(followed, x_next).to(x_next.dtype), value=lower[1])
        for order in range(3, len(points) + 1):
            higher, limit = self._weights(points[:order], current.sigma, sigma_next), CURVATURE * limit
            first, *others = (more - less for more, less in itertools.zip_longest(higher[1:], lower[1:], fillvalue=0.0))
            term = first * changes[0]
            for change, weight in zip(changes[1:], others, strict=False):
                add_scaled(term, change, weight, out=term)
            share = (norm(current.d) / norm(term)).clamp(max=1.0 / limit).nan_to_num(1.0 / limit)
            if steadiness is not None:
                share.mul_(steadiness ** (order - 1))  # the term is a difference of changes of D
            # x_next + term, with the term's norm at most limit |step|
            x_next.addcmul_(term, per_sample(share, term), value=limit)
            lower = higher
        return Step(x_next)

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


def _changes(points: Sequence[Evaluation], ascending: bool) -> tuple[Tensor, list[Tensor]]:
    """The newest value of what is interpolated, and its changes from each older point to the next, newest first.

    It is D, or on an ascending step d. There, x_next = (t/s) x - ... would be the difference of two numbers that are
    t/s times as large as x itself.
    """
    newest, *older = (point.d.clone() if ascending else point.denoised for point in points)
    for k in reversed(range(len(older))):
        torch.sub(older[k - 1] if k else newest, older[k], out=older[k])
    return newest, older


def _steadiness(changes: Sequence[Tensor]) -> Tensor | None:
    """1 + the cosine between the last two changes, between 0 and 1, [B]; None: there is only one.

    With strong CFG, D falls steeply where x rises, and methods of high order swing from step to step. A single turn
    may be a jump, as where guidance begins or ends. So it costs the curve, but the line and the corrector only lose
    their share where D turns twice in a row.
    """
    if len(changes) < 2:
        return None
    last, before = changes[:2]
    cosine = inner(last, before) / (norm(last) * norm(before))
    return cosine.add_(1.0).clamp_(0.0, 1.0).nan_to_num_(1.0)


def _persistence(newest: Tensor, last: Tensor) -> Tensor:
    """How much of |D| is left after its last change, between 0 and 1, [B].

    A mean of possible pictures, E[x_0 | x], gains contrast as x tells more: on average, its norm never falls. Strong
    CFG drives D far beyond the data as long as the prompt is not met. Once it is, D collapses, and no line goes on
    from there. A run's first D collapses as soon as x moves, so the next one holds for the whole first step. Later, D
    may have jumped anywhere in a step, as where guidance ends. So a single fall costs the line only in the first step.
    """
    left = norm(newest) / norm(newest - last)
    return left.mul_(TOLERANCE).clamp_(max=1.0).nan_to_num_(1.0)


def _followed(current: Evaluation, earlier: Evaluation) -> Tensor | None:
    """The share of D's last change that the line goes on for, [B]; None: all of it."""
    share = None
    if current.persistence is not None:
        share = _larger(current.persistence, earlier.persistence) ** 3
    if current.steadiness is not None:
        steady = _larger(current.steadiness, earlier.steadiness)
        share = steady if share is None else share.mul_(steady)
    return share


def _larger(now: Tensor, earlier: Tensor | None) -> Tensor:
    """This evaluation's, or the earlier one's if that is larger."""
    return now if earlier is None else torch.maximum(now, earlier)
