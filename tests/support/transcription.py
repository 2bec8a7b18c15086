"""The paper's rule for every solver, written directly from its table: slow, flat, independent.

It uses nothing from the package. It works sample by sample in float64, as one would on paper.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def sample(
    model,
    x: Tensor,
    sigmas: list[float],
    solver: str,
    is_flow: bool,
    w_stiff: float,
    w_con: float,
    order: int = 3,
    weights=None,
):
    out = []
    for b in range(x.shape[0]):
        one = x[b : b + 1].double()
        out.append(SOLVERS[solver](model, one, sigmas, is_flow, w_stiff, w_con, order, weights))
    return torch.cat(out)


def _drift(model, x, sigma):
    return (x - model(x, torch.full((1,), sigma, dtype=torch.float64))) / sigma


def _corrected(x_next, d, pair_x, pair_d, h, s, w_stiff, w_con):
    delta_x, delta_d = pair_x, pair_d
    stiffness = delta_d.norm() / (delta_x.norm() + 1e-8)
    direction = delta_d / (delta_d.norm() + 1e-8)
    if stiffness > w_con:
        z = w_stiff * h * stiffness
        x_next = x_next + s * h * z**2 * (direction * d).sum() * direction
    return x_next


def _heun(model, x, sigmas, is_flow, w_stiff, w_con, order, weights):
    previous = None
    for sigma, sigma_next in itertools.pairwise(sigmas):
        d = _drift(model, x, sigma)
        if sigma_next == 0:
            return x - sigma * d
        h = sigma - sigma_next
        x_euler = x - h * d
        d_euler = _drift(model, x_euler, sigma_next)
        x_next = x - h * (d + d_euler) / 2
        if previous is not None:
            x_next = _corrected(x_next, d, x - previous[0], d - previous[1], h, -1, w_stiff, w_con)
        previous = (x_euler, d_euler)
        x = x_next
    return x


def _two_stage(data_prediction):
    def solve(model, x, sigmas, is_flow, w_stiff, w_con, order, weights):
        for sigma, sigma_next in itertools.pairwise(sigmas):
            d = _drift(model, x, sigma)
            if sigma_next == 0:
                return x - sigma * d
            h = sigma - sigma_next
            if data_prediction and is_flow:
                if sigma == 1:
                    sigma_mid = 0.9999
                else:
                    middle = (math.log((1 - sigma) / sigma) + math.log((1 - sigma_next) / sigma_next)) / 2
                    sigma_mid = 1 / (1 + math.exp(middle))
            else:
                sigma_mid = math.sqrt(sigma * sigma_next)
            x_mid = x + (sigma_mid - sigma) * d
            d_mid = _drift(model, x_mid, sigma_mid)
            if data_prediction:
                denoised = x_mid - sigma_mid * d_mid
                x_next = sigma_next / sigma * x + (1 - sigma_next / sigma) * denoised
            else:
                x_next = x - h * d_mid
            x = _corrected(x_next, d, x - x_mid, d - d_mid, h, -1, w_stiff, w_con)
        return x

    return solve


def _deis(model, x, sigmas, is_flow, w_stiff, w_con, order, weights):
    past = []
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        d = _drift(model, x, sigma)
        if sigma_next == 0:
            return x - sigma * d
        past = [(sigma, x, d), *past][:order]
        if len(past) == 1:
            x_next = x + (sigma_next - sigma) * d
        else:
            x_next = x
            for weight, (_, _, past_d) in zip(weights(tuple(p[0] for p in past), sigma_next), past, strict=True):
                x_next = x_next + weight * past_d
            (_, x_old, d_old) = past[1]
            x_next = _corrected(x_next, d, x - x_old, d - d_old, sigmas[i - 1] - sigma, 1, w_stiff, w_con)
        x = x_next
    return x


def _euler(model, x, sigmas, is_flow, w_stiff, w_con, order, weights):
    previous = None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        d = _drift(model, x, sigma)
        x_next = x + (sigma_next - sigma) * d
        if previous is not None and sigma_next > 0:
            x_next = _corrected(x_next, d, x - previous[0], d - previous[1], sigmas[i - 1] - sigma, 1, w_stiff, w_con)
        previous = (x, d)
        x = x_next
    return x


def _abm(model, x, sigmas, is_flow, w_stiff, w_con, order, weights):
    """Predict, evaluate, correct with damping, and repeat.

    D is a polynomial in sigma/alpha. Its curvature may add at most a tenth of a step. Where D turns back, the curve is
    followed less at once, the line and the corrector only if it did so at the evaluation before, too.
    """
    past, accepted, steady, followed = [], None, None, 1.0
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = x - sigma * _drift(model, x, sigma)
        past = [(sigma, denoised), *past][:order]
        before = accepted
        if len(past) > 2:
            last, earlier = past[0][1] - past[1][1], past[1][1] - past[2][1]
            steady_before = steady
            steady = min(1.0, 1.0 + float((last * earlier).sum() / (last.norm() * earlier.norm())))
            followed = steady if steady_before is None else max(steady, steady_before)
        if i > 0:
            move = _abm_step(before[0], sigmas[i - 1], sigma, past, is_flow) - x
            euler_step = (sigma - sigmas[i - 1]) * before[1]
            x = x + followed * move / (1 + 2 * _ratio(move, euler_step))
        d = (x - denoised) / sigma
        if sigma_next == 0:
            return denoised
        accepted = (x, d)
        straight = x + (sigma_next - sigma) * d
        x_next = straight + followed * (_abm_step(x, sigma, sigma_next, past[:2], is_flow) - straight)
        for terms in range(3, len(past) + 1):
            more = _abm_step(x, sigma, sigma_next, past[:terms], is_flow) - _abm_step(
                x, sigma, sigma_next, past[: terms - 1], is_flow
            )
            bound = 0.1 ** (terms - 2) / _ratio(more, (sigma_next - sigma) * d)
            x_next = x_next + torch.minimum(bound, torch.ones_like(bound)) * steady ** (terms - 1) * more
        x = (
            x_next
            if i == 0
            else _corrected(x_next, d, x - before[0], d - before[1], sigmas[i - 1] - sigma, 1, w_stiff, w_con)
        )
    return x


def _ratio(a, b):
    return (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).view(-1, *[1] * (a.ndim - 1))


def _abm_step(x, sigma, sigma_next, points, is_flow):
    scaled = lambda s: s / torch.clamp(1 - s, min=1e-4) if is_flow else s  # noqa: E731
    nodes = [scaled(torch.tensor(s, dtype=torch.float64)) for s, _ in points]
    span = math.log(sigma_next) - math.log(sigma)
    grid = torch.exp(math.log(sigma) + span * (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    total = 0
    for j, (_, denoised) in enumerate(points):
        basis = torch.ones_like(grid)
        for k, node in enumerate(nodes):
            if k != j:
                basis = basis * (scaled(grid) - node) / (nodes[j] - node)
        total = total + (basis / grid).mean() * span * denoised
    return sigma_next / sigma * x - sigma_next * total


SOLVERS = {
    "heun": _heun,
    "dpm_2": _two_stage(False),
    "dpmpp_2s": _two_stage(True),
    "deis": _deis,
    "abm": _abm,
    "euler": _euler,
}
