"""The estimate of a run's own error, against the truth."""

from __future__ import annotations

import functools
import math
import statistics

import pytest
import torch
from problems import PROCESSES, mixture, run, schedule, start

import erk
from erk.error import FEWEST

BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
SHAPE = (4, 1, 8, 8)


def traced(process, steps, name="heun", mode="off", model=None, sigmas=None, **options):
    trace = erk.Trace()
    model = model or mixture(process, SHAPE[1:], width=0.4)
    sigmas = schedule(process, steps) if sigmas is None else sigmas
    x = run(model, start(SHAPE, process), sigmas, name, process, mode=mode, trace=trace, **options)
    return x, trace


@functools.cache
def converged(process):
    return traced(process, 300, "heun")[0]


@BOTH
@pytest.mark.parametrize("name", erk.SOLVERS)
@pytest.mark.parametrize("mode", ["off", "calibrated"])
def test_never_far_below_the_truth_and_near_it(process, name, mode):
    """Hindsight is of order 3. Where less is missed than that, by a solver or because a rule took the error away, the
    estimate is of hindsight's own error, and above the truth."""
    exact, solver = converged(process), erk.make_solver(name, process)
    for steps in (8, 16):
        x, trace = traced(process, steps, name, mode)
        truth = float((x - exact).flatten(1).square().mean(1).sqrt().mean() / exact.flatten(1).std(1).mean())
        found = sum(trace.error) / len(trace.error)
        assert found > truth / 4, (steps, truth, found)
        if mode == "off" and solver.order < 3:
            assert found < max(4 * truth, 0.004), (steps, truth, found)


def one_of_two(process, width=0.1):
    """Two pictures, the negative of one another, of so many numbers that the first steps decide between them."""
    picture = torch.ones(1, 1, 32, 32)
    picture[..., 16:] = -1

    def denoise(x, sigma):
        sigma, x64 = sigma.reshape(-1, 1, 1, 1).double(), x.double()
        alpha = 1 - sigma if process.is_flow else torch.ones_like(sigma)
        variance = (width * alpha) ** 2 + sigma**2
        mean = picture * torch.tanh((x64 * picture).sum((1, 2, 3), keepdim=True) * alpha / variance)
        return (mean + width**2 * alpha / variance * (x64 - alpha * mean)).to(x.dtype)

    return denoise


@BOTH
@pytest.mark.parametrize("name", ["euler", "abm"])
@pytest.mark.parametrize("steps", [8, 16])
def test_what_the_model_has_long_answered_is_forgotten(process, name, steps):
    """The picture is settled by the first steps, and every later level takes its share of what they did wrong.

    On flow models the first of them goes from s at infinity to 45 or 20, where no parabola in s follows D.
    """
    trace = erk.Trace()
    model, x = one_of_two(process), start((8, 1, 32, 32), process)
    run(model, x, schedule(process, steps), name, process, mode="off", trace=trace)
    early = sum(statistics.fmean(step.error) for step in trace.steps[: steps // 2])
    assert early < (0.04 if process.is_flow else 0.006), "of the contrast; the true error is 0.08 and 0.02 at most"


@BOTH
def test_a_steps_error_shows_where_the_schedule_has_a_hole(process):
    """One step of four times the length: most of the error is there."""
    sigmas = schedule(process, 24)
    holed = torch.cat([sigmas[:12], sigmas[16:]])
    _, trace = traced(process, 0, sigmas=holed)
    errors = [sum(step.error) for step in trace.steps]
    assert max(range(4, len(errors) - 1), key=errors.__getitem__) == 11


@BOTH
def test_the_steps_add_up_to_the_run(process):
    _, trace = traced(process, 12, "abm", "calibrated")
    for sample, total in enumerate(trace.error):
        assert total == pytest.approx(math.fsum(step.error[sample] for step in trace.steps))
        assert total > 0
    assert trace.as_dict()["error"] == trace.error


@BOTH
def test_samples_do_not_mix(process):
    model, x = mixture(process, SHAPE[1:]), start(SHAPE, process)
    both, one = erk.Trace(), erk.Trace()
    run(model, x, schedule(process, 10), "abm", process, mode="calibrated", trace=both)
    run(model, x[:1], schedule(process, 10), "abm", process, mode="calibrated", trace=one)
    assert both.error[0] == pytest.approx(one.error[0], rel=1e-3)


class TestWhereNothingCanBeTold:
    def test_few_steps(self):
        for steps in range(1, FEWEST):
            _, trace = traced(erk.SIGMA_SPACE, steps)
            assert all(math.isnan(error) for error in trace.error), steps
        assert all(math.isfinite(error) for error in traced(erk.SIGMA_SPACE, FEWEST)[1].error)

    def test_a_sample_whose_model_repeats_its_output(self):
        """A step cache: nothing is known of what the model would have said."""
        model, last = mixture(erk.SIGMA_SPACE, SHAPE[1:]), {}

        def cached(x, sigma):
            made = model(x, sigma)
            if 0.5 < float(sigma[0]) < 3.0 and last:
                made[1] = last["made"][1]
            last["made"] = made.clone()
            return made

        _, trace = traced(erk.SIGMA_SPACE, 16, "euler", model=cached)
        assert [math.isnan(error) for error in trace.error] == [False, True, False, False]

    def test_a_schedule_that_rises(self):
        _, trace = traced(erk.SIGMA_SPACE, 0, "euler", sigmas=schedule(erk.SIGMA_SPACE, 8)[:-1].flip(0))
        assert all(math.isnan(error) for error in trace.error)

    def test_a_run_cut_short(self):
        trace = erk.Trace()

        def stop(i):
            if i == 6:
                raise KeyboardInterrupt

        model = mixture(erk.SIGMA_SPACE, SHAPE[1:])
        solver = erk.make_solver("heun", erk.SIGMA_SPACE)
        with pytest.raises(KeyboardInterrupt):
            erk.integrate(
                model, start(SHAPE, erk.SIGMA_SPACE), schedule(erk.SIGMA_SPACE, 10), solver,
                erk.make_guidance("off", None, None, 10), erk.SIGMA_SPACE, trace=trace,
                report=lambda i, x, denoised: stop(i),
            )  # fmt: skip
        assert len(trace) == 6
        assert all(math.isnan(error) for error in trace.error)


def test_a_partial_run_is_judged_at_its_own_end():
    sigmas = schedule(erk.SIGMA_SPACE, 16)[:12]
    _, trace = traced(erk.SIGMA_SPACE, 0, "abm", sigmas=sigmas)
    assert all(0 < error < 0.2 for error in trace.error)


def test_levels_that_stand_twice_change_nothing():
    sigmas = schedule(erk.SIGMA_SPACE, 10)
    twice = torch.cat([sigmas[:5], sigmas[4:]])
    _, plain = traced(erk.SIGMA_SPACE, 0, "heun", sigmas=sigmas)
    _, trace = traced(erk.SIGMA_SPACE, 0, "heun", sigmas=twice)
    assert trace.error == pytest.approx(plain.error, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model, trace = mixture(erk.FLOW, SHAPE[1:]), erk.Trace()
    x = start(SHAPE, erk.FLOW).to(dtype)
    run(lambda x, s: model(x.float(), s.float()).to(dtype), x, schedule(erk.FLOW, 12), "abm", erk.FLOW, trace=trace)
    assert all(math.isfinite(error) for error in trace.error)


def test_what_is_kept_of_an_image_does_not_count():
    """Inpainting: outside the region the picture is given, and no error of the solver."""
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    _, whole = traced(erk.SIGMA_SPACE, 12, "heun")
    _, half = traced(erk.SIGMA_SPACE, 12, "heun", region=region)
    assert all(0 < a < b for a, b in zip(half.error, whole.error, strict=True))
