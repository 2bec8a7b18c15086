from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..embedded_pair import EmbeddedPair, norm, per_sample
from ..evaluation import Denoise, Evaluation, add_scaled
from ..noise_process import SIGMA_SPACE, NoiseProcess
from .base import History, Solver, Step
from .multistep import data_weights, distinct, drift_weights


@dataclass(frozen=True)
class ABM(Solver):
    """Adams-Bashforth-Moulton on the data prediction, one model call. Order 2 to 4 after a warm-up.

    The step from s to t has the exact form x_t = (t/s) x_s - t * integral from s to t of D/sigma^2 dsigma, in
    which nothing stiff is left but D itself (Lu et al. 2022, DPM-Solver++, eq. 8). D is interpolated by a
    polynomial in sigma/alpha through the newest evaluations: *predicted* without the one at t, and when that has been made
    at the predicted state, *corrected* with it, as UniPC (Zhao et al. 2023) does in half-logSNR. On the way up, from little
    noise to much, the drift is interpolated instead, as DEIS does. Not in the paper, nor in ComfyUI. Its pair: this step's
    start and the previous one's, as for DEIS.

    max_order  2, 3 or 4: evaluations that predictor and corrector use
    """

    name: ClassVar[str] = "abm"
    pair_looks_back: ClassVar[bool] = True
    corrects: ClassVar[bool] = True
    process: NoiseProcess = SIGMA_SPACE
    max_order: int = 3

    @property
    def memory(self) -> int:
        return self.max_order - 1

    def accept(self, evaluated: Evaluation, history: History) -> Evaluation:
        if not history or evaluated.sigma <= 0:
            return evaluated
        start, sigma = history[0], evaluated.sigma
        if sigma == start.sigma:
            return Evaluation(start.x, sigma, add_scaled(evaluated.d, start.x - evaluated.x, 1.0 / sigma))
        reach = norm((evaluated.x - start.euler(sigma)).float()) if len(history) > 1 else None
        move = self._across(start, (evaluated, *history), sigma).sub_(evaluated.x)
        if reach is not None:
            # Each order's term must be smaller than the one before, or the series is not converging: under strong CFG, at
            # long steps, the corrector would feed the model's steep answer back into the state, and pictures burst.
            share = (reach / norm(move.float())).nan_to_num(1.0).clamp(max=1.0)
            move.mul_(per_sample(share, move))
        return Evaluation(evaluated.x + move, sigma, add_scaled(evaluated.d, move, 1.0 / sigma))

    def step(self, denoise: Denoise, current: Evaluation, sigma_next: float, history: History) -> Step:
        if sigma_next <= 0 or not history:
            return Step(current.euler(sigma_next))
        return Step(self._across(current, (current, *history), sigma_next))

    def _across(self, start: Evaluation, points: tuple[Evaluation, ...], sigma_next: float) -> Tensor:
        """From ``start`` to ``sigma_next`` with D interpolated through ``points``."""
        if sigma_next == start.sigma:
            return start.x
        points = distinct(points[: self.max_order])
        if sigma_next > start.sigma:
            # Upwards x_next = (t/s) x - ... would be the difference of two numbers t/s times as large as x itself.
            weights = drift_weights(tuple(point.sigma for point in points), start.sigma, sigma_next)
            x_next = add_scaled(start.x.to(start.d.dtype), points[0].d, weights[0])
            for weight, point in zip(weights[1:], points[1:], strict=True):
                add_scaled(x_next, point.d, weight, out=x_next)
            return x_next
        of_d = data_weights(self.process, tuple(point.sigma for point in points), start.sigma, sigma_next)
        # sigma_next/sigma x + sum of weight D, with D = x - sigma d.
        of_x = [weight + (sigma_next / start.sigma if point is start else 0.0) for weight, point in zip(of_d, points, strict=True)]
        x_next = of_x[0] * points[0].x.to(start.d.dtype)
        for weight, point in zip(of_x[1:], points[1:], strict=True):
            add_scaled(x_next, point.x, weight, out=x_next)
        for weight, point in zip(of_d, points, strict=True):
            add_scaled(x_next, point.d, -weight * point.sigma, out=x_next)
        return x_next

    def pair(self, current: Evaluation, step: Step, sigma_next: float, history: History) -> EmbeddedPair | None:
        if not history:
            return None
        return EmbeddedPair(a=current, b=history[0], h=history[0].sigma - current.sigma, sign=1.0)
