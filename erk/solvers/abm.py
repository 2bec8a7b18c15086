from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..evaluation import Denoise, Evaluation, add_scaled
from ..norms import norm, per_sample
from .base import History, Step
from .multistep import Multistep, data_weights, distinct, drift_weights

CURVATURE = 0.1
"""Largest share of a step that D's curvature may add to the prediction.

D's third derivative may add this share of that again.
"""


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
    straight line is bounded. Both are done for each sample.
    """

    name: ClassVar[str] = "abm"
    title: ClassVar[str] = "ABM"
    corrects: ClassVar[bool] = True

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        if not history or evaluated.sigma <= 0:
            return evaluated
        start, sigma = history[0], evaluated.sigma
        if sigma == start.sigma:
            return Evaluation(start.x, sigma, add_scaled(evaluated.d, start.x - evaluated.x, 1.0 / sigma))
        points = distinct((evaluated, *history)[: self.max_order])
        move = _combined(points, self._weights(points, start, sigma)).sub_(evaluated.x)
        # D has been evaluated at the predicted state. |move|/|step| is the convergence rate of Picard's iteration: the
        # share of this move that the next one would undo, once in the state and once in the D that is kept with it.
        step = norm(start.d)  # divided by the step's length
        share = step / torch.add(step, norm(move), alpha=2.0 / abs(sigma - start.sigma))  # 1/(1 + 2 |move|/|step|)
        move.mul_(per_sample(share.nan_to_num(1.0), move))
        return Evaluation(evaluated.x + move, sigma, add_scaled(evaluated.d, move, 1.0 / sigma))

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        points = distinct((current, *history)[: self.max_order])
        if sigma_next in (0.0, current.sigma) or len(points) < 2:
            return Step(current.euler(sigma_next))
        lower, limit = self._weights(points[:2], current, sigma_next), abs(sigma_next - current.sigma)
        x_next = _combined(points, lower)
        for order in range(3, len(points) + 1):
            higher, limit = self._weights(points[:order], current, sigma_next), CURVATURE * limit
            added = [
                (x - of_x, d - of_d)
                for (x, d), (of_x, of_d) in itertools.zip_longest(higher, lower, fillvalue=(0.0, 0.0))
            ]
            term = _combined(points, added)
            share = (norm(current.d) / norm(term)).clamp(max=1.0 / limit).nan_to_num(1.0 / limit)
            # x_next + term, with the term's norm at most limit |step|
            x_next.addcmul_(term, per_sample(share, term), value=limit)
            lower = higher
        return Step(x_next)

    def _weights(self, points: Sequence[Evaluation], start: Evaluation, sigma_next: float) -> list[tuple[float, float]]:
        """Weights of each point's x and d in the step from ``start``, with D interpolated through all points.

        ``start`` is one of the points.
        """
        sigmas = tuple(point.sigma for point in points)
        if sigma_next > start.sigma:
            # On an ascending step, x_next = (t/s) x - ... would be the difference of two numbers that are t/s times as
            # large as x itself.
            of_d = drift_weights(sigmas, start.sigma, sigma_next)
            return [(1.0 if point is start else 0.0, weight) for point, weight in zip(points, of_d, strict=True)]
        # sigma_next/sigma x + sum of weight D, with D = x - sigma d.
        of_data = data_weights(self.process, sigmas, start.sigma, sigma_next)
        own = sigma_next / start.sigma
        return [
            (w + (own if point is start else 0.0), -w * point.sigma) for point, w in zip(points, of_data, strict=True)
        ]


def _combined(points: Sequence[Evaluation], weights: Sequence[tuple[float, float]]) -> Tensor:
    """The weighted sum of the first points' x and d, in the dtype of d."""
    (of_x, of_d), *others = weights
    total = of_x * points[0].x.to(points[0].d.dtype)
    add_scaled(total, points[0].d, of_d, out=total)
    for point, (of_x, of_d) in zip(points[1:], others, strict=False):
        add_scaled(total, point.x, of_x, out=total)
        add_scaled(total, point.d, of_d, out=total)
    return total
