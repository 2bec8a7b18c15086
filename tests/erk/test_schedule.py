"""Schedules planned from traces."""

from __future__ import annotations

import functools
import itertools
import math
import time

import pytest
import torch
from problems import PROCESSES, gaussian, mixture, run, schedule, start

import erk
from erk.schedule import planner
from erk.schedule.given import given_levels
from erk.schedule.trajectory import Path, Trajectory, scaled
from erk.trace import KEPT, Prediction

BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
SHAPE = (8, 1, 8, 8)


def traced(process, steps=16, name="abm", mode="calibrated", seed=1, sigmas=None, model=None, keep=True, shape=SHAPE):
    trace = erk.Trace(keep=keep)
    sigmas = schedule(process, steps) if sigmas is None else sigmas
    model = model or mixture(process, shape[1:])
    run(model, start(shape, process, seed), sigmas, name, process, mode=mode, trace=trace)
    return trace


@functools.cache
def converged(process):
    model, x = mixture(process, SHAPE[1:]), start(SHAPE, process, seed=2)
    return run(model, x, schedule(process, 300), "heun", process, mode="off")


def error_along(process, sigmas):
    model, x = mixture(process, SHAPE[1:]), start(SHAPE, process, seed=2)
    made = run(model, x, torch.tensor(sigmas), "abm", process, mode="off")
    return float((made - converged(process)).square().mean().sqrt())


@BOTH
@pytest.mark.parametrize("steps", [8, 16])
def test_a_plan_from_other_noises_errs_less(process, steps):
    sigmas = schedule(process, 16)
    if not process.is_flow:  # Karras' is hard to beat on this mixture; this one is not
        sigmas = torch.cat([torch.linspace(14.6, 0.03, 16), torch.zeros(1)])
    plan = erk.plan_schedule(traced(process, sigmas=sigmas), steps)
    assert plan.is_better
    assert error_along(process, plan.sigmas) < 0.9 * error_along(process, plan.given_sigmas)


@BOTH
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30, 50, 1000])
def test_levels_fall_from_the_first_to_zero(process, steps):
    trace = traced(process)
    plan = erk.plan_schedule(trace, steps)
    for sigmas, errors in ((plan.sigmas, plan.step_errors), (plan.given_sigmas, plan.given_step_errors)):
        assert len(sigmas) == steps + 1 and len(errors) == steps
        assert sigmas[0] == trace.info.sigmas[0] and sigmas[-1] == 0.0
        assert all(later < earlier for earlier, later in itertools.pairwise(sigmas))
    assert plan.predicted_error == pytest.approx(sum(plan.step_errors))
    assert plan.predicted_error <= plan.given_error


@BOTH
@pytest.mark.parametrize("name", erk.SOLVERS)
@pytest.mark.parametrize("mode", erk.MODES)
def test_any_run_of_any_solver_serves(process, name, mode):
    plan = erk.plan_schedule(traced(process, 12, name, mode), 8)
    assert math.isfinite(plan.predicted_error) and plan.predicted_error > 0


@BOTH
def test_a_part_of_a_schedule_keeps_both_ends(process):
    levels = schedule(process, 16)[4:13]
    plan = erk.plan_schedule(traced(process, sigmas=levels), 6)
    assert plan.sigmas[0] == float(levels[0]) and plan.sigmas[-1] == float(levels[-1])
    assert len(plan.sigmas) == 7
    assert all(later < earlier for earlier, later in itertools.pairwise(plan.sigmas))


def test_not_below_the_models_least_noise():
    trace = erk.Trace(keep=True)
    model, x, levels = mixture(erk.SIGMA_SPACE, SHAPE[1:]), start(SHAPE, erk.SIGMA_SPACE), schedule(erk.SIGMA_SPACE, 16)
    solver, guidance = erk.make_solver("abm", erk.SIGMA_SPACE), erk.make_guidance("off", None, None, 16)
    levels = torch.cat([levels[:9], levels[-1:]])  # stops early
    erk.integrate(model, x, levels, solver, guidance, erk.SIGMA_SPACE, trace=trace, sigma_min=0.25)
    assert 0.25 - 1e-6 <= erk.plan_schedule(trace, 12).sigmas[-2] < float(levels[-2])


def test_a_straight_path_gives_the_traced_schedule_back():
    """One picture only: every step is exact, and nothing can be better."""
    trace = traced(erk.SIGMA_SPACE, model=lambda x, sigma: torch.full_like(x, 0.5) + torch.linspace(0, 1, 8))
    plan = erk.plan_schedule(trace, 8)
    assert not plan.is_better and plan.sigmas == plan.given_sigmas


def test_several_traces_count_together():
    one, two = traced(erk.FLOW, seed=1), traced(erk.FLOW, 24, seed=5)
    both = erk.plan_schedule([one, two], 10)
    assert both.sigmas not in (erk.plan_schedule(one, 10).sigmas, erk.plan_schedule(two, 10).sigmas)
    assert erk.plan_schedule([one], 10) == erk.plan_schedule(one, 10)


def test_more_steps_err_less():
    planner = erk.Planner(traced(erk.SIGMA_SPACE))
    errors = [planner.plan(steps).predicted_error for steps in (6, 10, 16, 24, 40)]
    assert errors == sorted(errors, reverse=True)


def test_the_prediction_of_the_traced_run_is_what_hindsight_found():
    trace = traced(erk.SIGMA_SPACE)
    plan = erk.plan_schedule(trace, 16)
    assert plan.given_sigmas == trace.info.sigmas
    assert plan.given_error == pytest.approx(sum(trace.error) / len(trace.error), rel=1e-6)


def test_below_a_second_for_forty_levels_and_thirty_steps():
    torch.set_num_threads(1)
    trace = traced(erk.SIGMA_SPACE, 40, shape=(1, 4, 128, 128))
    began = time.process_time()
    erk.plan_schedule(trace, 30)
    assert time.process_time() - began < 1.0


@BOTH
def test_planning_stays_on_the_host(process):
    """In float64, which not every device has: also where everything new goes to another device by default."""
    trace = traced(process)
    expected = erk.plan_schedule(trace, 8)
    with torch.device("meta"):
        assert erk.plan_schedule(trace, 8).sigmas == expected.sigmas


@BOTH
def test_a_plan_that_promises_little_is_not_kept(process, monkeypatch):
    trace = traced(process, sigmas=torch.linspace(1 if process.is_flow else 14.6, 0.03, 16))
    assert erk.plan_schedule(trace, 15).is_better
    monkeypatch.setattr(planner, "TRACED_SHARE", 0.95)  # so near the traced schedule that little changes
    plan = erk.plan_schedule(trace, 15)
    assert not plan.is_better and plan.sigmas == plan.given_sigmas


def test_a_sample_of_hardly_any_contrast_does_not_rule_the_plan():
    """Of all samples' contrast its errors are as small a part as they look."""
    trace = traced(erk.FLOW)
    alone = erk.plan_schedule(trace, 8).sigmas
    sooner = [one.denoised[:1] for one in trace.predictions]
    sooner = [*sooner[4:], *sooner[-1:] * 4]  # a path of its own
    trace.predictions = [
        one._replace(denoised=torch.cat([one.denoised, 0.03 * (value - 0.999 * sooner[-1])]))
        for one, value in zip(trace.predictions, sooner, strict=True)
    ]
    assert erk.plan_schedule(trace, 8).sigmas == pytest.approx(alone, rel=0.1)


@BOTH
def test_of_gaussian_data_the_share_of_an_error_that_is_left_is_known(process):
    """S/sqrt(S^2 + s^2), as far as the last traced level."""
    scale = 0.7
    path = Path.of(traced(process, 60, "heun", "off", model=gaussian(process, scale)), process)
    s = torch.linspace(math.log(6.0), math.log(float(path.s[-1])), 12, dtype=torch.float64).exp()
    expected = ((scale**2 + path.s[-1] ** 2) / (scale**2 + s**2)).sqrt()
    assert Trajectory([path], s)._left.tolist() == pytest.approx(expected.tolist(), rel=0.12)


@BOTH
def test_what_a_step_misses_is_what_such_steps_miss(process):
    """Where D depends on the level alone, the errors of abm's and of dpmpp_2m's second order can be worked out."""
    levels = torch.cat([schedule(process, 400)[1:-1].double(), torch.tensor([1e-3], dtype=torch.float64)])
    trace = erk.Trace(keep=True)
    trace.predictions = [Prediction(float(sigma), answer(sigma)[None]) for sigma in levels]
    path = Path.of(trace, process)
    past, start_, end = (float(levels[i]) for i in (120, 180, 230))
    s = torch.tensor([scaled(process, sigma) for sigma in (past, start_, end)], dtype=torch.float64)
    trajectory = Trajectory([path], s)
    found = trajectory.missed(torch.tensor(0), torch.tensor(1), torch.tensor(2)) / trajectory._left[2] ** 2

    fine = torch.linspace(math.log(start_), math.log(end), 4001, dtype=torch.float64).exp()
    inverse = 1 / torch.tensor([scaled(process, float(sigma)) for sigma in fine], dtype=torch.float64)
    value = torch.stack([answer(sigma) for sigma in fine])
    exact = ((value[1:] + value[:-1]) / 2 * inverse.diff()[:, None]).sum(0)
    squares = []
    for place in (lambda sigma: scaled(process, float(sigma)), lambda sigma: math.log(float(sigma))):
        at = torch.tensor([place(sigma) for sigma in fine], dtype=torch.float64)
        slope = (answer(torch.tensor(start_)) - answer(torch.tensor(past))) / (place(start_) - place(past))
        line = answer(torch.tensor(start_)) + (at - place(start_))[:, None] * slope
        if place(start_) != scaled(process, start_):  # dpmpp_2m takes the middle of its step for the whole
            line = line[-1:].add(line[:1]).div(2).expand(len(fine), -1)
        step = ((line[1:] + line[:-1]) / 2 * inverse.diff()[:, None]).sum(0)
        squares.append(float(((exact - step) * s[2]).square().mean() / answer(levels[-1]).var(correction=0)))
    assert float(found) == pytest.approx(sum(squares) / 2, rel=0.03)


def answer(sigma):
    """A D that depends on the level alone, [3]."""
    return torch.stack([torch.sin(3 * sigma), torch.exp(-sigma), sigma.sqrt() + 1]).double()


class TestWhatIsKept:
    def test_a_bounded_share_of_each_level_and_nothing_unless_asked(self):
        trace = traced(erk.FLOW, 8, shape=(2, 4, 256, 256))
        assert len(trace.predictions) == 8
        for prediction in trace.predictions:
            assert prediction.denoised.numel() <= KEPT and KEPT * 4 <= 2**20
        assert traced(erk.FLOW, 8, keep=False).predictions == []

    def test_the_newest_run_alone(self):
        trace = traced(erk.FLOW, 8)
        run(mixture(erk.FLOW, SHAPE[1:]), start(SHAPE, erk.FLOW), schedule(erk.FLOW, 6), "heun", erk.FLOW, trace=trace)
        assert len(trace.predictions) == 6


class TestTheGivenSchedule:
    def test_keeps_the_models_least_level(self):
        levels = [*schedule(erk.SIGMA_SPACE, 16).tolist()]
        assert given_levels(levels, 8, levels[-2])[-2] == pytest.approx(levels[-2])

    def test_keeps_its_pace_otherwise(self):
        assert given_levels([1.0, 0.75, 0.5, 0.25, 0.0], 2, None) == [1.0, 0.5, 0.0]
        assert given_levels([1.0, 0.5, 0.0], 4, None) == [1.0, 0.75, 0.5, 0.25, 0.0]


class TestRefusals:
    """One sentence each, with the value and the way out."""

    def refused(self, trace, steps=8, kind=ValueError):
        with pytest.raises(kind, match=r"^ERK-Guid: [^\n]+$") as error:
            erk.plan_schedule(trace, steps)
        return str(error.value)

    def test_steps(self):
        trace = traced(erk.FLOW)
        assert "0" in self.refused(trace, 0) and "1001" in self.refused(trace, 1001)
        for steps in (8.0, "8", True, None):
            assert repr(steps) in self.refused(trace, steps, TypeError)

    def test_no_trace(self):
        assert "dict" in self.refused([{}], kind=TypeError)
        assert "no trace" in self.refused([])

    def test_an_empty_trace(self):
        assert "empty" in self.refused(erk.Trace(keep=True))

    def test_one_step(self):
        assert "1 noise level," in self.refused(traced(erk.FLOW, 1))

    def test_nothing_kept(self):
        assert "keep=True" in self.refused(traced(erk.FLOW, keep=False))

    def test_a_schedule_that_rises(self):
        assert "upwards" in self.refused(traced(erk.SIGMA_SPACE, sigmas=schedule(erk.SIGMA_SPACE, 8)[:-1].flip(0)))

    def test_not_finite(self):
        assert "NaN" in self.refused(traced(erk.FLOW, model=lambda x, sigma: torch.full_like(x, math.nan)))

    def test_of_different_models(self):
        assert "different models" in self.refused([traced(erk.FLOW), traced(erk.SIGMA_SPACE)])

    def test_of_different_denoise(self):
        part = traced(erk.SIGMA_SPACE, sigmas=schedule(erk.SIGMA_SPACE, 16)[4:])
        assert "different first levels" in self.refused([traced(erk.SIGMA_SPACE), part])

    def test_cut_off(self):
        trace = traced(erk.FLOW)
        del trace._measured[10:]
        assert "cut off after 10 of 16" in self.refused(trace)
