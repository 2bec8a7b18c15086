"""Solvers that add noise: what they add, what the calibrated rule makes of it, and what is refused."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from problems import PROCESSES, Counted, bent, gaussian, gaussian_std, mixture, schedule

import erk

NOISY = pytest.mark.parametrize("name", erk.NOISY)
BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
MODES = pytest.mark.parametrize("mode", ["off", "calibrated"])
SHAPES = ((2, 4, 16, 16), (2, 3, 5, 12, 8), (2, 1, 300), (2, 64))


def run(name, process, mode="calibrated", model=bent, shape=(2, 4, 16, 16), steps=8, dtype=torch.float32, sigmas=None,
        seed=1, noise=None, trace=None, region=None, **options):  # fmt: skip
    """A run with its own noise for each step, the same in every run."""
    sigmas = schedule(process, steps) if sigmas is None else sigmas
    generator = torch.Generator().manual_seed(seed)
    x = float(sigmas[0]) * torch.randn(shape, generator=generator)
    if noise is None:
        noise = [torch.randn(shape, generator=generator).to(dtype) for _ in range(len(sigmas))]
    return erk.integrate(
        model, x.to(dtype), sigmas, erk.make_solver(name, process, **options),
        erk.make_guidance(mode, None, None, steps), process, trace=trace, region=region, draw=lambda i: noise[i],
    )  # fmt: skip


@NOISY
@BOTH
def test_the_noise_makes_up_for_the_lower_level(name, process):
    """On x/alpha, the level that is stepped to and the noise give the next level."""
    levels = schedule(process, 12).tolist()
    for eta in (0.3, 1.0):
        for step, sigma_next in zip(
            erk.make_solver(name, process, eta=eta).noise_steps(levels), levels[1:], strict=True
        ):
            down, alpha = step.sigma_down / process.alpha(step.sigma_down), process.alpha(sigma_next)
            assert math.hypot(down, step.std / alpha) == pytest.approx(sigma_next / alpha, rel=1e-5)
            assert step.scale == pytest.approx(alpha / process.alpha(step.sigma_down))
            assert step.draws == (sigma_next > 0)


@BOTH
@MODES
@pytest.mark.parametrize(("name", "plain"), [("euler_ancestral", "euler"), ("dpmpp_2s_ancestral", "dpmpp_2s")])
def test_eta_0_is_the_plain_solver(name, plain, process, mode):
    sigmas = schedule(process, 8)
    x = float(sigmas[0]) * torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(1))
    guidance = erk.make_guidance(mode, None, None, 8)
    ours = run(name, process, mode, eta=0.0, noise=[None] * 9)
    assert torch.equal(ours, erk.integrate(bent, x, sigmas, erk.make_solver(plain, process), guidance, process))


@BOTH
@pytest.mark.parametrize("shape", [(4000, 1, 8, 8), (4000, 64)], ids=str)
def test_a_gaussian_of_one_variance_keeps_it(process, shape):
    """Within 3 % at 8 steps, where plain ancestral sampling has less than half of it.

    On flow models 4 %: what a band of few numbers still misses cannot be added as noise in the long last step.
    """
    trace, model = erk.Trace(), gaussian(process)
    sigmas = schedule(process, 8)
    x = gaussian_std(process, float(sigmas[0])) * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    variances = {}
    for mode in ("off", "calibrated"):
        generator = torch.Generator().manual_seed(2)
        solver, guidance = erk.make_solver("euler_ancestral", process), erk.make_guidance(mode, None, None, 8)
        made = erk.integrate(
            model, x, sigmas, solver, guidance, process, trace=trace,
            draw=lambda i, g=generator: torch.randn(shape, generator=g),
        )  # fmt: skip
        variances[mode] = float(made.var()) / 0.7**2
    assert variances["off"] < 0.5
    assert variances["calibrated"] == pytest.approx(1.0, abs=0.04 if process.is_flow else 0.03)


@BOTH
@NOISY
@MODES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_batch_of_two_is_two_of_one(name, process, mode, shape):
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(9)]
    both = run(name, process, mode, shape=shape, noise=noise)
    sigmas = schedule(process, 8)
    x = float(sigmas[0]) * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for k in range(2):
        one = erk.integrate(
            bent, x[k : k + 1], sigmas, erk.make_solver(name, process), erk.make_guidance(mode, None, None, 8), process,
            draw=lambda i, k=k: noise[i][k : k + 1],
        )  # fmt: skip
        assert torch.dist(one[0], both[k], float("inf")) < 1e-4


@BOTH
@NOISY
def test_as_many_calls_as_it_says_and_a_draw_for_each_step_but_the_last(name, process):
    model, asked = Counted(bent), []
    sigmas = schedule(process, 6)
    x = torch.randn((1, 4, 16, 16))

    def draw(i):
        asked.append(i)
        return torch.randn_like(x)

    solver, guidance = erk.make_solver(name, process), erk.make_guidance("calibrated", None, None, 6)
    erk.integrate(model, x, sigmas, solver, guidance, process, draw=draw)
    assert model.calls == 5 * erk.NOISY[name].calls + 1
    assert asked == [0, 1, 2, 3, 4]


@BOTH
@NOISY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(name, process, dtype):
    made = run(name, process, dtype=dtype)
    assert made.dtype is dtype and made.isfinite().all()
    assert torch.dist(made.float(), run(name, process)) < 0.3 * made.float().norm()


@BOTH
@NOISY
def test_only_the_sampled_region_is_corrected(name, process):
    region = torch.zeros(1, 1, 16, 16)
    region[..., 5:] = 1.0
    off, corrected = (run(name, process, mode, steps=6, region=region, model=_keeps) for mode in ("off", "calibrated"))
    assert torch.equal(off[..., :5], corrected[..., :5]) and not torch.equal(off, corrected)


def _keeps(x, sigma):
    """Each pixel on its own, so that nothing crosses the region's border."""
    return torch.tanh(x / (1 + sigma.view(-1, 1, 1, 1)))


@BOTH
@NOISY
def test_a_repeated_output_is_left_alone(name, process):
    """As a step cache gives it: nothing of the noise is changed, and the step is told as held."""
    last, trace = [], erk.Trace()

    def cached(x, sigma):
        if not last or len(last) % 4 != 2:
            last.append(bent(x, sigma))
        else:
            last.append(last[-1])
        return last[-1]

    made = run(name, process, model=cached, trace=trace, steps=10)
    held = [step for step in trace.steps if "repeated" in step.held]
    assert made.isfinite().all() and held
    assert all(step.correction == [0.0, 0.0] for step in held if step.held == ["repeated", "repeated"])


@BOTH
def test_where_the_picture_is_known_estimates_that_are_too_large_do_not_add_up(process):
    """The prediction changes with the level alone, so that nothing is undecided.

    Each band's estimate is wrong by chance, and one below 0 cannot be taken back from the noise of its own band.
    """
    shape, trace = (64, 1, 32, 32), erk.Trace()
    picture = 0.3 * torch.randn(shape[1:], generator=torch.Generator().manual_seed(7))

    def known(x, sigma):
        alpha = process.alpha(float(sigma[0]))
        return (alpha / (alpha + float(sigma[0])) * picture).expand(shape)

    run("euler_ancestral", process, model=known, shape=shape, trace=trace)
    more = [statistics.fmean(step.noise_ratio) - 1.0 for step in trace.steps[:-1]]
    assert 0.0 < max(more) < 0.05


def variance_in_directions(name, process, mode="calibrated", directions=4, columns=16, steps=8):
    """Of samples where data is Gaussian in a few directions of the first columns, and 0 elsewhere. It should be 1.

    Only these columns are sampled.
    """
    numbers, region = 16 * columns, torch.zeros(1, 1, 16, 16)
    region[..., :columns] = 1
    basis = torch.linalg.qr(torch.randn(numbers, directions, generator=torch.Generator().manual_seed(5)))[0]
    variance = numbers / directions

    def model(x, sigma):
        alpha, level = process.alpha(float(sigma[0])), float(sigma[0])
        share = alpha * variance / (alpha**2 * variance + level**2)
        denoised = torch.zeros_like(x)
        denoised[..., :columns] = (share * x[..., :columns].flatten(1) @ basis @ basis.T).view(-1, 1, 16, columns)
        return denoised

    made = run(name, process, mode, model, (2000, 1, 16, 16), steps, region=None if columns == 16 else region)
    return float((made[..., :columns].flatten(1) @ basis).var()) / variance


@BOTH
def test_data_in_few_directions_gets_its_variance_back(process):
    """There w is far smaller than what chance does to a mean of few eps^2. The change of D tells it.

    By the mean of eps^2 alone, it is 0.71 of the variance in sigma-space and 0.82 on flow models.
    """
    assert variance_in_directions("euler_ancestral", process, "off") < 0.65
    assert variance_in_directions("euler_ancestral", process) == pytest.approx(1.0, abs=0.16)


@BOTH
def test_so_does_a_narrow_region(process):
    """The fewer numbers are sampled, the less their mean tells: 0.81 and 0.88 if it counted as that of all."""
    assert variance_in_directions("euler_ancestral", process, columns=1) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("process", "directions", "least"), [(PROCESSES[0], 64, 0.79), (PROCESSES[1], 16, 0.94)])
def test_a_solver_with_stages_goes_on_for_what_is_likely(process, directions, least):
    """By the mean of eps^2 alone, it is 0.77 in sigma-space and 0.925 on flow models."""
    assert variance_in_directions("dpmpp_2s_ancestral", process, directions=directions, steps=5) > least


@BOTH
@NOISY
def test_where_guidance_has_taken_the_variance_nothing_is_added(name, process):
    """With CFG the mean of eps^2 is above 1, and so nothing is known of what is undecided, though D changes."""
    trace = erk.Trace()
    conditional, unconditional = gaussian(process, 0.3), gaussian(process, 0.7)

    def guided(x, sigma):
        negative = unconditional(x, sigma)
        return negative + 4.0 * (conditional(x, sigma) - negative)

    run(name, process, model=guided, shape=(16, 1, 32, 32), trace=trace)
    assert max(trace.steps[1].correction) > 0
    assert max(trace.steps[5].correction) == 0


@BOTH
def test_the_trace_tells_the_noise(process):
    of_mode = {}
    for mode in ("off", "calibrated"):
        trace = erk.Trace()
        made = run("euler_ancestral", process, mode, mixture(process, (4, 16, 16)), trace=trace)
        assert torch.equal(made, run("euler_ancestral", process, mode, mixture(process, (4, 16, 16))))
        of_mode[mode] = trace.steps
    plain = erk.make_solver("euler_ancestral", process).noise_steps(schedule(process, 8).tolist())
    for step, how in zip(of_mode["off"][:-1], plain, strict=False):
        assert step.noise == pytest.approx([how.std] * 2, rel=1e-5) and step.noise_ratio == [1.0, 1.0]
    assert all(math.isnan(value) for value in of_mode["off"][-1].noise)
    assert any(max(step.noise_ratio) > 1.001 for step in of_mode["calibrated"][:-1])
    assert any(max(step.correction) > 0.001 for step in of_mode["calibrated"])


@BOTH
@NOISY
@pytest.mark.parametrize("option", ["eta", "s_noise"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1", True])
def test_bad_noise_is_told(name, process, option, value):
    with pytest.raises((ValueError, TypeError), match=f"ERK-Guid: {option} is .*: give a finite number"):
        erk.make_solver(name, process, **{option: value})


@NOISY
@BOTH
def test_mode_paper_and_rising_levels_are_refused_before_any_call(name, process):
    model = Counted(bent)
    with pytest.raises(ValueError, match="mode is 'paper', which has no rule for a sampler that adds noise"):
        run(name, process, "paper", model)
    up = schedule(process, 8).flip(0)
    up[0] = 1e-3
    with pytest.raises(ValueError, match="the noise levels rise"):
        run(name, process, "off", model, sigmas=up)
    assert model.calls == 0
    assert run(name, process, "off", model, sigmas=up, eta=0.0).isfinite().all(), "without noise it unsamples"


def test_an_eta_that_no_flow_schedule_has_room_for():
    with pytest.raises(ValueError, match="it must be at most"):
        run("euler_ancestral", erk.FLOW, eta=20.0)


@pytest.mark.parametrize("name", erk.SOLVERS)
def test_solvers_without_noise_take_no_eta(name):
    with pytest.raises(ValueError, match="adds no noise: leave it out"):
        erk.make_solver(name, erk.FLOW, eta=1.0)


def test_noise_of_another_scale_is_another_unit_of_the_data():
    """A flow model made for noise of deviation 8: data, noise and result are 8 times as large."""

    def eightfold(x, sigma):
        return 8 * bent(x / 8, sigma)

    sigmas = schedule(erk.FLOW, 8)
    x = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(1))
    noise = [torch.randn(x.shape, generator=torch.Generator().manual_seed(i)) for i in range(9)]
    guidance = erk.make_guidance("calibrated", None, None, 8)
    for name in erk.NOISY:
        small = erk.integrate(
            bent, x, sigmas, erk.make_solver(name, erk.FLOW), guidance, erk.FLOW, draw=lambda i: noise[i]
        )
        solver = erk.make_solver(name, erk.FLOW, noise_scale=8.0)
        large = erk.integrate(eightfold, 8 * x, sigmas, solver, guidance, erk.FLOW, draw=lambda i: noise[i])
        assert torch.dist(large / 8, small, float("inf")) < 1e-4
