"""The solvers, checked against mathematics: orders of convergence, weights, coordinates."""

from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problems import PROCESSES, Counted, bent, gaussian, gaussian_std, run, schedule, start
from torch import Tensor

import erk
from erk.evaluation import Evaluation
from erk.solvers import ABM, DEIS, Step, abm
from erk.solvers.deis import adams_bashforth_vp
from erk.solvers.multistep import data_weights

IN_EVERY_ORDER = [
    (name, order)
    for name, solver in erk.SOLVERS.items()
    for order in ((2, 3, 4) if issubclass(solver, erk.Multistep) else (None,))
]


def observed_order(solver, process: erk.NoiseProcess, counts: tuple[int, int] = (64, 128)) -> float:
    """The order, from the errors at sigma_end of two step sizes. It starts with exact values, without a warm-up."""
    model = gaussian(process)
    ends = (0.9, 0.2) if process.is_flow else (8.0, 0.3)
    errors = []
    for steps in counts:
        levels = torch.logspace(math.log10(ends[0]), math.log10(ends[1]), steps + 1, dtype=torch.float64).tolist()

        def denoise(x, sigma):
            return Evaluation.at(x, sigma, model(x, torch.tensor([sigma], dtype=torch.float64)))

        def exact(sigma):
            return torch.tensor([[gaussian_std(process, sigma)]], dtype=torch.float64)

        first = solver.memory
        history = deque((denoise(exact(levels[i]), levels[i]) for i in reversed(range(first))), maxlen=solver.memory)
        x = exact(levels[first])
        for sigma, sigma_next in zip(levels[first:], levels[first + 1 :], strict=False):
            current = solver.accept(denoise(x, sigma), history)
            x = solver.step(denoise, current, sigma_next, history).x_next
            history.appendleft(current)
        errors.append(abs(x.item() / exact(levels[-1]).item() - 1))
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize(("name", "max_order"), IN_EVERY_ORDER)
def test_a_solver_has_the_order_that_it_declares(name, max_order, process):
    solver = erk.make_solver(name, process, max_order)
    counts = (256, 512) if max_order else (64, 128)  # one that looks back reaches its order later
    assert observed_order(solver, process, counts) == pytest.approx(solver.order, abs=0.25)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_a_step_distilled_model_needs_euler(process):
    """A model that is right after one Euler step from each level of its schedule to the next.

    A better solver has nothing to improve.
    """
    sigmas = schedule(process, 4)
    levels = sigmas.tolist()

    def student(x, sigma):
        level = float(sigma[0])
        following = max(other for other in levels if other < level)
        drift = (gaussian_std(process, following) / gaussian_std(process, level) - 1) / (following - level)
        return x - level * drift * x

    x = start((2, 3, 4), process)
    exact = x * gaussian_std(process, 0.0) / gaussian_std(process, levels[0])
    error = {
        name: float((run(student, x, sigmas, name, process, "off") - exact).norm() / exact.norm())
        for name in erk.SOLVERS
    }
    assert error.pop("euler") < 1e-5
    assert min(error.values()) > 1e-3, error


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("sigma_next", [0.4, 0.05, 1e-4])
def test_abm_weights_integrate_a_quadratic_data_prediction_exactly(process, sigma_next):
    """x_t = (t/s) x_s - t * integral from s to t of D/sigma^2 dsigma, against a fine midpoint rule in log sigma."""
    sigmas, start_level = (0.5, 0.7, 0.9), 0.5

    def data(sigma):
        s = sigma / process.alpha(sigma)
        return 0.3 - 0.2 * s + 0.05 * s * s

    span = math.log(sigma_next) - math.log(start_level)
    grid = torch.exp(math.log(start_level) + span * (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    expected = -sigma_next * (data(grid) / grid).mean().item() * span
    weights = data_weights(process, sigmas, start_level, sigma_next)
    assert sum(w * data(sigma) for w, sigma in zip(weights, sigmas, strict=True)) == pytest.approx(expected, rel=1e-7)


def test_deis_weights_integrate_constants_and_the_vp_time_exactly():
    from erk.solvers.multistep import _vp_time

    nodes, end = (3.0, 4.5, 7.0), 1.2
    weights = adams_bashforth_vp(nodes, end)
    assert sum(weights) == pytest.approx(end - nodes[0], rel=1e-12)
    # int t(sigma) dsigma by a fine trapezoidal rule
    grid = torch.linspace(nodes[0], end, 200_001, dtype=torch.float64)
    t = torch.tensor([_vp_time(s) for s in grid[::1000].tolist()], dtype=torch.float64)
    expected = torch.trapezoid(t, grid[::1000]).item()
    assert sum(w * _vp_time(s) for w, s in zip(weights, nodes, strict=True)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", erk.SOLVERS)
def test_a_solver_survives_a_schedule_that_returns_to_a_level(name):
    x = start((2, 3, 4), erk.SIGMA_SPACE)
    result = run(bent, x, torch.tensor([4.0, 2.0, 4.0, 2.0, 1.0]), name, erk.SIGMA_SPACE)
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_half_log_snr_and_its_inverse(process):
    for sigma in (1e-3, 0.1, 0.5, 0.9):
        assert process.sigma_at(process.half_log_snr(sigma)) == pytest.approx(sigma, rel=1e-12)
    assert process.half_log_snr(0.0) == math.inf


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("mode", erk.MODES)
@pytest.mark.parametrize("name", erk.SOLVERS)
def test_a_solver_makes_as_many_calls_as_it_declares_in_every_mode(name, mode, process):
    model, calls = Counted(bent), 9 * erk.SOLVERS[name].calls + 1
    trace = erk.Trace()
    run(model, start((1, 2, 4), process), schedule(process, 10), name, process, mode, trace=trace)
    assert model.calls == calls
    assert trace.steps[-1].model_calls == calls


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("name", erk.SOLVERS)
def test_unsampling_then_sampling_returns(name, process):
    """Ascending levels invert: with many steps, going up and down ends at the start."""
    top = 0.8 if process.is_flow else 3.0
    up = torch.linspace(0.05, top, 200)
    x = start((2, 3, 4), process).clamp(-1, 1)
    noisy = run(gaussian(process), x, up, name, process, "off")
    back = run(gaussian(process), noisy, up.flip(0), name, process, "off")
    assert (noisy - x).norm() > 0.05 * x.norm()
    assert torch.allclose(back, x, rtol=0, atol=0.02)


def test_abm_damps_its_corrector_where_the_models_answer_is_steep():
    """A model whose output jumps between two evaluations: the corrector's move is reduced for each sample."""
    solver = ABM(max_order=2)
    x = start((2, 1, 4, 4), erk.SIGMA_SPACE)
    history = [Evaluation.at(x, 4.0, torch.zeros_like(x))]
    predicted = solver.step(lambda x, sigma: None, history[0], 2.0, []).x_next
    answer = torch.stack([100 * x[0], 1e-4 * x[1]])  # the first sample's jumps, the other's goes on as it was
    accepted = solver.accept(Evaluation.at(predicted, 2.0, answer), history)
    weight, _ = data_weights(erk.SIGMA_SPACE, (2.0, 4.0), 4.0, 2.0)
    whole, moved, step = ((a).flatten(1).norm(dim=1) for a in (weight * answer, accepted.x - predicted, predicted - x))
    assert moved.tolist() == pytest.approx((whole / (1 + 2 * whole / step)).tolist(), rel=1e-3)
    assert moved[0] < 0.5 * step[0] and moved[1] > 0.99 * whole[1]
    assert torch.allclose(accepted.denoised, answer, rtol=1e-3, atol=1e-3), "the evaluation's answer stays what it is"


def test_abm_does_not_extrapolate_a_curve_over_a_long_step():
    """Short steps and then a long one, as in linear_quadratic: a bend would be extrapolated far beyond it."""
    x = start((2, 1, 4, 4), erk.SIGMA_SPACE)
    points = [Evaluation.at(x, sigma, bend * x) for sigma, bend in ((14.2, 0.5), (14.4, 0.1), (14.6, 0.0))]
    line, curve = (
        ABM(max_order=order).step(lambda x, sigma: None, points[0], 7.0, points[1:]).x_next for order in (2, 3)
    )
    step = (points[0].euler(7.0) - x).flatten(1).norm(dim=1)
    assert ((curve - line).flatten(1).norm(dim=1) / step).tolist() == pytest.approx([0.1, 0.1], rel=1e-5)


def noted(newer: Evaluation, older: Evaluation, **seen: Tensor | None) -> Evaluation:
    """The newer evaluation with what a step notes of D's way from the older one."""
    change = newer.denoised - older.denoised
    length, size, speed = (a.flatten(1).norm(dim=1) for a in (change, newer.denoised, newer.d))
    return newer._replace(course=abm.Course(size, speed, change, length, **seen))


def swinging(last: float) -> list[Evaluation]:
    """Three evaluations, newest first. D's last change is ``last`` times the one before."""
    x = start((2, 1, 4, 4), erk.SIGMA_SPACE)
    return [Evaluation.at(x, sigma, bend * x) for sigma, bend in ((4.0, 0.6 + 0.1 * last), (5.0, 0.6), (6.0, 0.5))]


@pytest.mark.parametrize(("last", "expected"), [(0.7, 1.0), (0.0, 1.0), (-0.5, 0.0), (-2.0, 0.0)])
def test_abm_sees_where_d_turns_back(last, expected):
    newest, *history = swinging(last)
    assert ABM().accept(newest, history).course.steadiness.tolist() == pytest.approx([expected] * 2, abs=1e-5)
    assert ABM().accept(newest, history[:1]).course.steadiness is None, "two evaluations make one change"


def test_abm_takes_the_cosine_of_ds_changes():
    """At 120 degrees to the change before, in one sample; at 60 degrees in the other."""
    newest, *history = swinging(0.0)
    way = history[0].denoised - history[1].denoised
    across = torch.stack([way[0].roll(1, -1), way[1].roll(1, -1)])
    across -= way * ((across * way).flatten(1).sum(1) / (way * way).flatten(1).sum(1)).view(-1, 1, 1, 1)
    across *= (way.flatten(1).norm(dim=1) / across.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
    cosine = torch.tensor([-0.5, 0.5]).view(-1, 1, 1, 1)
    newest = Evaluation.at(newest.x, newest.sigma, history[0].denoised + cosine * way + 0.75**0.5 * across)
    assert ABM().accept(newest, history).course.steadiness.tolist() == pytest.approx([0.5, 1.0], abs=1e-4)


@pytest.mark.parametrize(("earlier", "moved"), [(None, 0.0), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0)])
def test_abms_corrector_and_line_are_left_out_where_d_turns_twice(earlier, moved):
    """A single turn may be a jump. Then the corrector is what takes the mean of both sides."""
    newest, last, first = swinging(-1.0)
    steadiness = None if earlier is None else torch.full((2,), earlier)
    last, steady = (noted(last, first, steadiness=s, persistence=torch.ones(2)) for s in (steadiness, torch.ones(2)))
    turned = ABM().accept(newest, [last, first])
    whole = ABM().accept(newest, [steady, first])
    assert (whole.x - newest.x).abs().min() > 0
    assert torch.allclose(turned.x - newest.x, moved * (whole.x - newest.x), atol=1e-5)
    euler = turned.euler(3.0)
    followed = turned._replace(course=turned.course._replace(steadiness=None))
    line = ABM(max_order=2).step(lambda x, sigma: None, followed, 3.0, [last, first]).x_next
    reached = ABM().step(lambda x, sigma: None, turned, 3.0, [last, first]).x_next
    assert (line - euler).flatten(1).norm(dim=1).min() > 0.1
    assert torch.allclose(reached - euler, moved * (line - euler), atol=1e-5), "and no curve"


@pytest.mark.parametrize("order", [3, 4])
def test_abms_curve_loses_more_than_its_line(order):
    """Its j-th difference of D is followed by steadiness^j."""
    x = start((2, 1, 4, 4), erk.SIGMA_SPACE)
    bends = ((4.0, 0.10), (5.0, 0.06), (6.0, 0.031), (7.0, 0.0))
    points = [Evaluation.at(x, sigma, bend * x) for sigma, bend in bends][:order]
    ends = [
        ABM(max_order=most).step(lambda x, sigma: None, points[0], 3.5, points[1:]).x_next
        for most in range(2, order + 1)
    ]
    steady = [noted(*points[:2], steadiness=torch.tensor([1.0, 0.5])), *points[1:]]
    reached = ABM(max_order=order).step(lambda x, sigma: None, steady[0], 3.5, steady[1:]).x_next
    euler, share = points[0].euler(3.5), torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
    terms = [b - a for a, b in itertools.pairwise([euler, *ends])]
    expected = euler + sum(share ** (j + 1) * term for j, term in enumerate(terms))
    assert terms[-1].abs().max() > 1e-3
    assert torch.allclose(reached, expected, atol=1e-5)


def collapsing(*sizes: float) -> list[Evaluation]:
    """Evaluations, newest first. The norms of D are in proportion to ``sizes``."""
    x = start((2, 1, 4, 4), erk.SIGMA_SPACE)
    return [Evaluation.at(x, 8.0 + 2.0 * i, 0.3 * size * x.roll(1, -1)) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(("left", "expected"), [(0.0, 0.0), (0.4, 0.5), (0.8, 1.0), (3.0, 1.0), (-0.4, 0.5)])
def test_abm_sees_where_d_collapses(left, expected):
    newest, last = collapsing(left, 1.0)
    assert ABM().accept(newest, [last]).course.persistence.tolist() == pytest.approx([expected] * 2, abs=1e-4)
    assert ABM().accept(newest, []).course is None, "one evaluation shows nothing"
    assert ABM().accept(last, [newest]).course.persistence is None, "and on the way up nobody asks"


@pytest.mark.parametrize(("left", "weight"), [(0.0, 0.0), (0.4, 0.5), (0.9, 1.0)])
@pytest.mark.parametrize("max_order", [2, 3])
def test_abms_first_step_goes_with_the_new_d_where_the_old_one_is_gone(left, weight, max_order, monkeypatch):
    """From the implicit trapezoidal rule to backward Euler. Later steps keep to the first."""
    monkeypatch.setattr(abm, "DAMPING", 0.0)
    newest, last = collapsing(left, 1.0)
    of_newest, of_last = data_weights(erk.SIGMA_SPACE, (8.0, 10.0), 10.0, 8.0)
    for earlier, share in ((last, weight), (noted(last, last, persistence=torch.ones(2)), 1.0)):
        accepted = ABM(max_order=max_order).accept(newest, [earlier])
        moved = newest.denoised - share * of_last / (of_newest + of_last) * (newest.denoised - last.denoised)
        assert torch.allclose(accepted.x, 0.8 * last.x + 0.2 * moved, atol=1e-4)
        assert torch.allclose(accepted.denoised, newest.denoised, atol=1e-4)


@pytest.mark.parametrize(("earlier", "counts"), [(None, 0.5), (0.2, 0.5), (0.8, 0.8), (1.0, 1.0)])
def test_abms_line_does_not_go_on_from_a_collapse(earlier, counts):
    """If D has kept its size in one of the last two steps, it may have jumped, and the line counts."""
    newest, last, first = collapsing(0.4, 1.0, 1.0)
    earlier = None if earlier is None else torch.full((2,), earlier)
    seen = [noted(newest, last, persistence=torch.full((2,), 0.5)), noted(last, first, persistence=earlier), first]
    euler = newest.euler(7.0)
    solver = ABM(max_order=2)
    line = solver.step(lambda x, sigma: None, newest, 7.0, [last]).x_next
    reached = solver.step(lambda x, sigma: None, seen[0], 7.0, seen[1:]).x_next
    assert (line - euler).flatten(1).norm(dim=1).min() > 0.1
    assert torch.allclose(reached - euler, counts**3 * (line - euler), atol=1e-5)


@pytest.mark.parametrize(("steepness", "steps", "most"), [(4.0, 16, 0.05), (6.0, 24, 0.1), (8.0, 16, 100.0)])
def test_abm_does_not_swing_where_d_falls_with_x(steepness, steps, most):
    """D = -J x/(1 + sigma), as strong CFG does. The solution goes to 0; it ended at 0.1, 3.2 and 2,000.

    Beside it is a sample that answers as data does. It must not notice.
    """
    x = start((2, 3, 8, 8), erk.SIGMA_SPACE)
    slope = torch.tensor([-steepness, 0.5]).view(2, 1, 1, 1)
    sigmas = schedule(erk.SIGMA_SPACE, steps)
    ends = run(lambda x, sigma: slope * x / (1 + sigma.view(-1, 1, 1, 1)), x, sigmas, "abm", erk.SIGMA_SPACE, "off")
    alone = run(lambda x, sigma: 0.5 * x / (1 + sigma.view(-1, 1, 1, 1)), x[1:], sigmas, "abm", erk.SIGMA_SPACE, "off")
    assert ends[0].abs().mean() < most
    assert torch.allclose(ends[1:], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["off", "calibrated"])
@pytest.mark.parametrize("first", [1e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [8, 20])
def test_abm_unsamples_flow_models(mode, first, shift, steps):
    """FlipSigmas on a whole flow schedule, on a Gaussian: the result is noise of deviation 1."""
    t = torch.linspace(0, 1, steps + 1)
    sigmas = shift * t / (1 + (shift - 1) * t)
    sigmas[0] = first
    x = 0.7 * start((2, 3, 16, 16), erk.FLOW)
    result = run(gaussian(erk.FLOW), x, sigmas, "abm", erk.FLOW, mode)
    assert float(result.std()) == pytest.approx(float(x.std()) / 0.7, rel=0.12)


class Everything:
    """A history that remembers every evaluation, with its state, whatever the solver declares."""

    has_states = True

    def __init__(self, solver, paired, points):
        self.points, self._solver = list(points), solver

    @property
    def levels(self):
        return tuple(point.sigma for point in self.points)[: self._solver.memory]

    def remember(self, point):
        self.points.insert(0, point)


def with_and_without_the_rest(monkeypatch, solver, process, mode):
    """The result with what the solver declares that it needs, and the result with everything."""
    x, sigmas, results = start((2, 3, 4, 4), process), schedule(process, 9), []
    for remembers_all in (False, True):
        with monkeypatch.context() as patch:
            if remembers_all:
                patch.setattr(sys.modules["erk.integrate"], "History", Everything)
            results.append(erk.integrate(bent, x, sigmas, solver, erk.make_guidance(mode, 1.0, 0.0, 9), process))
    return results


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("mode", erk.MODES)
@pytest.mark.parametrize(("name", "max_order"), IN_EVERY_ORDER)
def test_a_solver_needs_what_it_declares_and_no_more(name, max_order, mode, process, monkeypatch):
    declared, everything = with_and_without_the_rest(
        monkeypatch, erk.make_solver(name, process, max_order), process, mode
    )
    assert torch.equal(declared, everything)


@dataclass(frozen=True)
class Peeking(DEIS):
    """It declares that it uses only past drifts, but uses a past state."""

    name: ClassVar[str] = "peeking"

    def step(self, denoise, current, sigma_next, history):
        made = super().step(denoise, current, sigma_next, history)
        return Step(made.x_next + 0.01 * (history[0].x if history else current.x))


@dataclass(frozen=True)
class Remembering(ABM):
    """It declares one past evaluation less than it uses."""

    name: ClassVar[str] = "remembering"

    @property
    def memory(self):
        return self.max_order - 2


@pytest.mark.parametrize("solver", [Peeking(), Remembering()], ids=lambda solver: solver.name)
def test_a_solver_that_uses_more_than_it_declares_is_detected(solver, monkeypatch):
    try:
        declared, everything = with_and_without_the_rest(monkeypatch, solver, erk.SIGMA_SPACE, "off")
    except RuntimeError:  # a state that was let go has no elements
        return
    assert not torch.equal(declared, everything)
