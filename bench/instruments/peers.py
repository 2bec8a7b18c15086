"""Samplers of recent papers that ComfyUI does not have, for comparison. They are written from the papers' formulas.

They are k-diffusion functions. No table counts them as stock samplers: their rows have the mode "peer". Each makes one
model call per step, and STORK-2 makes one more at its start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

PEER = "peer"
"""The mode of their rows."""


def _alpha(model: Any, sigma: float) -> float:
    """1 on sigma-space models, 1 - sigma on flow models."""
    return 1.0 - sigma if _is_flow(model) else 1.0


def _is_flow(model: Any) -> bool:
    import comfy.model_sampling

    return isinstance(model.inner_model.model_patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST)


def _tell(
    callback: Callable[[dict[str, Any]], None] | None, i: int, x: Tensor, sigma: Tensor, denoised: Tensor
) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


# ---------------------------------------------------------------------------------------------------------------------
# CAB-2
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample_cab2(model, x, sigmas, extra_args=None, callback=None, disable=None, theta: float | None = None) -> Tensor:
    """Corrected Adams-Bashforth of order 2 (Roy and Nair 2026, arXiv 2605.16736), in y = x/alpha over s = sigma/alpha.

        y' = y + h [(1 + r/2) e_i - r/2 e_{i-1}] + theta h [e_i - e~],   r = h/h_{i-1},   h = s_{i+1} - s_i

    e is the noise estimate, and e~ is the extrapolation of its two predecessors to s_i. Step 0 is an Euler step and
    step 1 is plain AB-2. Flow models make both in (x, sigma), because s is infinite at their start. There, step 1 has
    the authors' weights for equal steps.

    theta  strength of the correction; by default the authors' own, 0.9 on sigma-space models and 0.2 on flow models
    """
    is_flow = _is_flow(model)
    theta = (0.2 if is_flow else 0.9) if theta is None else theta
    ones = x.new_ones(len(x))
    past: list[tuple[float, Tensor]] = []  # (s, e), the latest first
    velocity_before = x
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, i, x, sigmas[i], denoised)
        sigma, sigma_next = float(sigmas[i]), float(sigmas[i + 1])
        alpha, alpha_next = _alpha(model, sigma), _alpha(model, sigma_next)
        s, s_next = (sigma / alpha if alpha else math.inf), sigma_next / alpha_next
        e = (x - alpha * denoised) / sigma
        velocity = (x - denoised) / sigma
        h = s_next - s
        if i == 0:
            x = x + (sigma_next - sigma) * velocity
        elif i == 1 and is_flow:
            x = x + (sigma_next - sigma) * (1.5 * velocity - 0.5 * velocity_before)
        else:
            r = h / (s - past[0][0])
            slope = (1 + r / 2) * e - r / 2 * past[0][1]
            if i > 1:
                before = (s - past[0][0]) / (past[0][0] - past[1][0])  # 0 where past[1] is a flow model's start
                slope = slope + theta * (e - (1 + before) * past[0][1] + before * past[1][1])
            x = alpha_next * (x / alpha + h * slope)
        past, velocity_before = [(s, e), *past[:1]], velocity
    return x


# ---------------------------------------------------------------------------------------------------------------------
# REAB-2
# ---------------------------------------------------------------------------------------------------------------------


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(48)


def _integral_of_log_tan(angle: float) -> float:
    """The integral of log tan from 0 to ``angle`` in [0, pi/2), by parts, so that the numerical part is smooth."""
    if angle == 0.0:
        return 0.0
    nodes, weights = _gauss_legendre()
    inner = angle / 2 * (nodes + 1)
    return angle * math.log(math.tan(angle)) - angle / 2 * float(weights @ (2 * inner / np.sin(2 * inner)))


@torch.no_grad()
def sample_reab2(model, x, sigmas, extra_args=None, callback=None, disable=None) -> Tensor:
    """Rosenbrock-type exponential Adams-Bashforth of order 2, a multistep DPM-Solver-v3 without model statistics
    (Zheng et al. 2023, arXiv 2310.13268; the library azula names it so). With n = sqrt(alpha^2 + sigma^2),
    u = log(sigma/alpha) and the angle phi = atan(sigma/alpha):

        x_next = (n'/n) x + n' * integral of f over phi,   f = (alpha x / n - n D) / sigma  linear in u through two
        calls

    Corrected: azula 0.11.1 has sqrt(alpha_next^2 + sigma^2) for n' before the integral, which is not what its own
    documentation derives, and is not consistent. Here the integral is exact, to sigma 0 too, where it has a limit.
    """
    ones = x.new_ones(len(x))
    before: tuple[float, Tensor] | None = None  # (u, f)
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, i, x, sigmas[i], denoised)
        (sigma, alpha), (sigma_next, alpha_next) = (
            (float(t), _alpha(model, float(t))) for t in (sigmas[i], sigmas[i + 1])
        )
        norm, norm_next = math.hypot(alpha, sigma), math.hypot(alpha_next, sigma_next)
        phi, phi_next = math.atan2(sigma, alpha), math.atan2(sigma_next, alpha_next)
        u = math.log(sigma / alpha) if alpha else math.inf
        f = (alpha / norm * x - norm * denoised) / sigma
        integral = (phi_next - phi) * f
        if before is not None and math.isfinite(before[0]):
            # Of u - u_i over phi, times the slope of f.
            rise = _integral_of_log_tan(phi_next) - _integral_of_log_tan(phi) - u * (phi_next - phi)
            integral = integral + rise / (u - before[0]) * (f - before[1])
        x = norm_next / norm * x + norm_next * integral
        before = (u, f)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# STORK-2
# ---------------------------------------------------------------------------------------------------------------------


@cache
def _gegenbauer_moments(stages: int) -> tuple[float, float]:
    """How a step of the Runge-Kutta-Gegenbauer method integrates t and t^2 over [0, 1], with a slope that depends on t.

    Skaras, Saxton, Meyer and Aslam 2021 (J. Comput. Phys. 425, 109879). The abscissae are the method's own: the times
    at which it is exact for a constant slope. The first moment is 1/2 and the second near 1/4, so the order is 2.
    """

    def b(j: int) -> float:
        return (1.0, 1 / 3)[j] if j < 2 else 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))

    first = 6 / ((stages + 4) * (stages - 1))
    # The times of the stages j - 2 and j - 1, and their integrals of t and t^2.
    older, newer = np.zeros(3), np.array([first, 0.0, 0.0])
    for j in range(2, stages + 1):
        mu = (2 * j + 1) * b(j) / (j * b(j - 1))
        nu = -(j + 1) * b(j) / (j * b(j - 2))
        weight = mu * first
        at_start = -weight * (1 - j * (j + 1) * b(j - 1) / 2)
        slope = np.array([1.0, newer[0], newer[0] ** 2])
        older, newer = newer, mu * newer + nu * older + weight * slope + at_start * np.array([1.0, 0.0, 0.0])
    return float(newer[1]), float(newer[2])


@torch.no_grad()
def sample_stork2(model, x, sigmas, extra_args=None, callback=None, disable=None, stages: int = 50) -> Tensor:
    """STORK-2 for flow models (Tan, Wang, Bertozzi and Ryu 2025, arXiv 2505.24210).

    This is a stabilized Runge-Kutta-Gegenbauer step of 50 stages. Its slopes are not the model's own. They come from
    the model's Taylor polynomial of degree 2 in sigma, from divided differences of the last three velocities. This
    depends only on sigma, so the 50 stages reduce to two moments. The first interval is halved, with Euler and AB-2,
    and the second is AB-2. So there is one call more than steps.

    Two things follow the cited method and not the authors' released scheduler. The stages' times are the Gegenbauer
    method's own (the released ones are the Legendre method's, which give order 1). The first derivative allows for
    unequal steps.

    It is only for flow models. On other models the paper expands the noise estimate in VP time over equal steps, which
    does not apply to ComfyUI's schedules.
    """
    if not _is_flow(model):
        raise ValueError("STORK-2 is written here for flow models only.")
    first, second = _gegenbauer_moments(stages)
    ones = x.new_ones(len(x))
    past: list[tuple[float, Tensor]] = []  # (sigma, velocity), the latest first

    def velocity(x: Tensor, sigma: float, i: int) -> Tensor:
        denoised = model(x, sigma * ones, **(extra_args or {}))
        _tell(callback, i, x, sigmas[i], denoised)
        return (x - denoised) / sigma

    for i in range(len(sigmas) - 1):
        sigma = float(sigmas[i])
        dt = float(sigmas[i + 1]) - sigma
        v = velocity(x, sigma, i)
        past = [(sigma, v), *past[:2]]
        if i == 0:
            middle = x + dt / 2 * v
            x = middle + dt / 2 * (1.5 * velocity(middle, sigma + dt / 2, i) - 0.5 * v)
            continue
        (t0, v0), (t1, v1) = past[:2]
        slope = (v0 - v1) / (t0 - t1)
        if i == 1:
            x = x + dt * v + dt**2 / 2 * slope
            continue
        t2, v2 = past[2]
        bend = (slope - (v1 - v2) / (t1 - t2)) / (t0 - t2)  # the second divided difference, half the second derivative
        x = x + dt * v + dt**2 * first * (slope + (t0 - t1) * bend) + dt**3 * second * bend
    return x


class Peer(NamedTuple):
    """A sampler, the kinds of model that it is written for, and its description."""

    sample: Callable[..., Tensor]
    kinds: tuple[str, ...]
    note: str


_FLOW = ("flow", "flow1")
_EVERY = ("eps", "edm", *_FLOW)
PEERS: dict[str, Peer] = {
    "cab2": Peer(
        sample_cab2,
        _EVERY,
        "CAB-2 (arXiv 2605.16736), its theta 0.9 on sigma-space and 0.2 on flow models, as its authors have it",
    ),
    "reab2": Peer(
        sample_reab2,
        _EVERY,
        "Rosenbrock-type exponential Adams-Bashforth of order 2, a mistake of the published code corrected",
    ),
    "stork2": Peer(
        sample_stork2, _FLOW, "STORK-2 (arXiv 2505.24210), on flow models alone, with consistent stage times"
    ),
}
