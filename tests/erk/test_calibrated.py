"""The calibrated rule: exact where its model is exact, better where it is not, harmless everywhere."""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problems import PROCESSES, Counted, bent, gaussian, gaussian_std, mixture, run, schedule, spoiled, start

import erk
from erk.evaluation import Evaluation
from erk.guidance import Calibrated
from erk.guidance.base import RunFacts
from erk.guidance.calibrated.claim import Claim, agreement
from erk.guidance.calibrated.local_model import missed_by_step
from erk.guidance.calibrated.quotient import LOGIT_MAX, NOISE_FRACTION_EXPANDING, SCATTER_OF_U, Quotients
from erk.guidance.calibrated.rule import CalibratedRule
from erk.guidance.calibrated.spectrum import Spectrum
from erk.guidance.calibrated.spread import logits, look_up, plane
from erk.norms import inner
from erk.solvers import Solver, Step

BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
SOLVERS = pytest.mark.parametrize("name", erk.SOLVERS)


@dataclass(frozen=True)
class Kutta3(Solver):
    """Kutta's third-order method, which the package does not have. It must be calibrated too."""

    name: ClassVar[str] = "kutta_3"
    title: ClassVar[str] = "Kutta 3"
    calls: ClassVar[int] = 3
    order: ClassVar[int] = 3

    def step(self, denoise, current, sigma_next, history):
        if sigma_next == 0:
            return Step(current.euler(0.0))
        dt, middle = sigma_next - current.sigma, (current.sigma + sigma_next) / 2
        second = denoise(current.euler(middle), middle)
        third = denoise(current.x + dt * (2 * second.d - current.d), sigma_next)
        return Step(current.x + dt * (current.d + 4 * second.d + third.d) / 6, (second, third))

    def pair(self, current, step, sigma_next, history):
        return erk.EmbeddedPair(current, step.stages[0], current.sigma - sigma_next, -1.0) if step.stages else None


def spectrum_of(x):
    return Spectrum(x.shape, x.device)


def solve(solver, mode, model, x, sigmas, process, **options):
    return erk.integrate(
        model, x, sigmas, solver, erk.make_guidance(mode, None, None, len(sigmas) - 1), process, **options
    )


@pytest.fixture
def trusting(monkeypatch):
    """The rule without its judgement: every claim is believed from the start."""
    monkeypatch.setattr(CalibratedRule, "_trust", lambda self, size: torch.ones_like(size))
    monkeypatch.setattr("erk.guidance.calibrated.rule.STRAYED", 1e9)


CORRECTED = pytest.mark.parametrize("name", [name for name, solver in erk.SOLVERS.items() if not solver.corrects])
"""Solvers that accept a state as it is. A predictor-corrector's own corrector changes it afterwards."""


def second_state(solver, mode, model, x, sigmas, process):
    """The result, and the state after the first step.

    A multistep solver's first step is an Euler step, and there is no pair to make a claim from.
    """
    states = []
    result = solve(solver, mode, model, x, sigmas, process, report=lambda i, x, denoised: states.append(x.clone()))
    return result, states[1]


@BOTH
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
@pytest.mark.parametrize("solver", [*(name for name in erk.SOLVERS if name != "abm"), "kutta_3"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 40)], ids=["image", "packed"])
def test_claims_are_exact_on_a_gaussian(solver, scale, process, shape, trusting):
    """From the first claim on, the end point is S/std(sigma) times the state, whatever the solver, the steps, or S."""
    solver = Kutta3() if solver == "kutta_3" else erk.make_solver(solver, process)
    x, sigmas = start(shape, process), schedule(process, 7)
    error = {}
    for mode in ("off", "calibrated"):
        result, second = second_state(solver, mode, gaussian(process, scale), x, sigmas, process)
        exact = second * scale / gaussian_std(process, float(sigmas[1]), scale)
        error[mode] = float((result - exact).norm() / exact.norm())
    # deis also remembers its first point. The Euler step from there was not corrected.
    assert error["calibrated"] < (0.15 if solver.memory else 1e-3) * error["off"] + 2e-5, error


@BOTH
@CORRECTED
def test_claims_are_exact_if_each_band_has_its_own_variance(name, process, trusting):
    """A Gaussian whose variance falls with the frequency, so that one number is not enough."""
    x = start((2, 2, 8, 8), process)
    spectrum = spectrum_of(x)
    variance = spectrum.spread(torch.logspace(0, -3, spectrum.bands).expand(4, -1))  # S^2 of each coefficient

    def model(x, sigma):
        sigma = sigma[0]  # all samples are at one level
        alpha = 1 - sigma if process.is_flow else torch.ones_like(sigma)
        return spectrum.inverse(alpha * variance / (alpha**2 * variance + sigma**2) * spectrum.forward(x))

    sigmas, error = schedule(process, 7), {}
    level = float(sigmas[1])
    std = (process.alpha(level) ** 2 * variance + level**2).sqrt()
    for mode in ("off", "calibrated"):
        result, second = second_state(erk.make_solver(name, process), mode, model, x, sigmas, process)
        error[mode] = (result - spectrum.inverse(spectrum.forward(second) * variance.sqrt() / std)).norm()
    assert error["calibrated"] < 0.01 * error["off"], error


@BOTH
@SOLVERS
@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (4, 1, 40)], ids=["image", "packed"])
def test_trust_is_earned_on_a_gaussian(name, process, shape):
    """Where the model is true, its claims prove right and most of the error is removed."""
    x, sigmas, trace = start(shape, process), schedule(process, 10), erk.Trace()
    exact = x * 0.7 / gaussian_std(process, float(sigmas[0]))
    off = run(gaussian(process), x, sigmas, name, process, "off")
    calibrated = run(gaussian(process), x, sigmas, name, process, "calibrated", trace=trace)
    assert (calibrated - exact).norm() < 0.75 * (off - exact).norm()
    assert all(value > 0.7 for value in trace.steps[-1].believed)


@BOTH
@SOLVERS
def test_nothing_is_corrected_before_a_claim_has_been_judged(name, process):
    """Only the second claim can be believed. The first is made at the first or second step."""
    x, sigmas, trace = start((2, 3, 8, 8), process), schedule(process, 8), erk.Trace()
    run(bent, x, sigmas, name, process, "calibrated", trace=trace)
    claiming = [step.index for step in trace.steps if not math.isnan(step.believed[0])]
    assert trace.steps[claiming[0]].believed == [0.0, 0.0] and not any(trace.steps[claiming[0]].active)
    assert any(any(trace.steps[i].active) for i in claiming[1:])


class TestAgreement:
    """T of items 5 and 6 of the package's text."""

    @staticmethod
    def trust(found, claimed, last=False):
        return agreement(inner(found, claimed), inner(claimed, claimed), inner(found, found), last)

    @pytest.mark.parametrize(
        ("factor", "expected"),
        [(1.0, 1.0), (0.3, 0.3), (0.0, 0.0), (-1.0, 0.0), (2.0, 1.0), (8.0, 0.375), (math.nan, 0.0)],
    )
    @pytest.mark.parametrize("last", [False, True])
    def test_the_measured_error_is_a_multiple_of_the_claim(self, factor, expected, last):
        claimed = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(self.trust(factor * claimed, claimed, last), torch.full((2,), expected), atol=1e-6)

    def test_before_the_last_step_trust_is_less_by_the_cosine(self):
        claimed, other = (torch.randn(1, 64, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
        found = 0.5 * (claimed + other)  # at 45 degrees to the claim
        assert float(self.trust(found, claimed)) == pytest.approx(0.5, abs=0.05)
        assert float(self.trust(found, claimed, last=True)) == pytest.approx(0.5**1.5, abs=0.05)
        assert float(self.trust(-found, claimed, last=True)) == 0

    @pytest.mark.parametrize("shape", [(3, 8, 8), (1, 40), (2, 3, 4, 4)])
    def test_each_sample_has_its_own(self, shape):
        claimed = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        trust = self.trust(torch.cat([claimed[:1], -claimed[1:]]), claimed)
        assert trust.tolist() == pytest.approx([1.0, 0.0])

    def test_without_a_claim_there_is_no_trust(self):
        zero = torch.zeros(1, 1, 8, 8)
        assert (self.trust(zero, zero) == 0).all() and (self.trust(zero + 1, zero) == 0).all()


@pytest.mark.parametrize(("unexplained", "trust"), [(0.0, 1.0), (0.25, 0.75), (0.4, 0.36), (0.6, 0.0)])
@pytest.mark.parametrize("region", [False, True])
def test_a_picture_that_is_still_being_decided_has_no_correction_in_its_last_step(unexplained, trust, region):
    claimed, other = (torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    mask = torch.ones(1, 1, 64, 64)
    denoised = other + 0.0  # what it changed by besides the claim is a share of itself
    if region:
        mask[..., 32:] = 0
        denoised[..., 32:] = 100.0  # outside the sampled region
    claimed = claimed * mask
    partial = claimed + unexplained * other - denoised
    claim = Claim(claimed, inner(claimed, claimed), None, None, partial, 1.0)
    judgement = claim.judged(Evaluation.at(other, 1.0, denoised), mask if region else None)
    assert judgement.strayed is None
    assert float(judgement.trust) == pytest.approx(trust / math.hypot(1.0, unexplained), abs=0.02)  # and the cosine


@pytest.mark.parametrize("factor", [-100.0, -1.0, 0.0, 1.0, 100.0])
@pytest.mark.parametrize(("size", "strayed"), [(0.9, False), (1.1, True)])
def test_only_what_is_believed_of_a_claim_counts_when_a_run_strays(factor, size, strayed):
    """A claim that is not believed ends no run, however wrong it is. One that is right explains the error."""
    error = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    error *= size / error.norm()
    claimed = factor * error
    claim = Claim(claimed, inner(claimed, claimed), torch.ones(1), None, error, 0.0)
    judgement = claim.judged(Evaluation.at(error, 1.0, error), None)
    assert bool(judgement.strayed) == (strayed and factor != 1.0 and factor != 100.0)
    assert float(judgement.trust) == pytest.approx({1.0: 1.0, 100.0: 0.01}.get(factor, 0.0), abs=1e-5)


def test_the_last_step_is_judged_by_how_the_prediction_changed():
    """A Gaussian's denoiser above sigma 1, which stays constant below: the last step must not continue as before."""

    def model(x, sigma):
        return (0.49 / (0.49 + sigma.clamp(min=1.0) ** 2)).view(-1, 1, 1, 1) * decided

    decided = start((2, 3, 16, 16), erk.SIGMA_SPACE) / 14.6
    x, sigmas, trace = 14.6 * decided, schedule(erk.SIGMA_SPACE, 10), erk.Trace()
    run(model, x, sigmas, "deis", erk.SIGMA_SPACE, "calibrated", trace=trace)
    assert all(value < 0.05 for value in trace.steps[-1].believed)


def cached(model, difference):
    """A step cache on ``model``. Every third call returns its last output, or its last difference from the input."""
    last = []

    def call(x, sigma):
        if len(last) % 3 == 2:
            last.append(last[-1])
        else:
            denoised = model(x, sigma)
            last.append(denoised - x if difference else denoised)
        return x + last[-1] if difference else last[-1]

    return call


@BOTH
@SOLVERS
@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 40)])
def test_a_repeated_output_is_not_corrected(name, process, difference, shape):
    x, sigmas, trace, plain = start(shape, process), schedule(process, 10), erk.Trace(), erk.Trace()
    run(cached(bent, difference), x, sigmas, name, process, "calibrated", trace=trace)
    repeated = [step.held == ["repeated", "repeated"] for step in trace.steps]
    calls = [step.model_calls for step in trace.steps]
    expected = [
        any(call % 3 == 0 for call in range(before + 1, after + 1)) for before, after in itertools.pairwise([0, *calls])
    ]
    # The last stage and the next step's start may be at the same level. There, nearly equal outputs are right.
    assert repeated == expected if calls[0] == 1 else all(map(operator.le, repeated, expected)) and any(repeated)
    assert not any(any(step.active) for step, held in zip(trace.steps, repeated, strict=True) if held)
    run(bent, x, sigmas, name, process, "calibrated", trace=plain)
    assert all(step.held == ["", ""] for step in plain.steps)


@BOTH
@SOLVERS
def test_a_run_that_has_left_its_trajectory_goes_on_with_plain_steps(name, process):
    """One sample's model contradicts itself wildly at one step. The other sample is not affected."""
    x, sigmas, trace = start((2, 3, 16, 16), process), schedule(process, 12), erk.Trace()
    levels = sigmas.tolist()

    def model(x, sigma):
        denoised = gaussian(process)(x, sigma)
        if abs(float(sigma[0]) - levels[6]) < 1e-6:
            denoised[0] -= 30 * x[0]
        return denoised

    run(model, x, sigmas, name, process, "calibrated", trace=trace)
    told = [step.held for step in trace.steps]
    since = next(i for i, held in enumerate(told) if held[0] == "strayed")
    assert since in (6, 7) and all(held[0] == "strayed" for held in told[since:])
    assert not any(step.active[0] for step in trace.steps[since:])
    assert all(held[1] == "" for held in told) and any(step.active[1] for step in trace.steps[since:])


@BOTH
@SOLVERS
def test_the_kept_part_outside_a_mask_is_no_evidence(name, process):
    """Inpainting: the sampled part depends on the model's output there, and not on the kept part's noise estimate."""
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    x, sigmas, results = start((2, 2, 8, 8), process), schedule(process, 8), []
    for keep in (0.4, 30.0):

        def model(x, sigma, keep=keep):
            return region * bent(region * x, sigma) + (1 - region) * keep

        results.append(run(model, x, sigmas, name, process, "calibrated", region=region)[..., :4])
    # abm's corrector uses the whole sample, including the kept part.
    assert torch.allclose(*results, rtol=1e-3, atol=1e-3) or name == "abm"


def test_the_reported_scale_is_that_of_the_whole_sample():
    """It is not that of the first band, which has S = 3 here, while all others have 0.1."""
    x = start((2, 2, 16, 16), erk.SIGMA_SPACE)
    spectrum, trace = spectrum_of(x), erk.Trace()
    deviations = torch.full((4, spectrum.bands), 0.1)
    deviations[:, 0] = 3.0
    variance = spectrum.spread(deviations**2)

    def model(x, sigma):
        return spectrum.inverse(variance / (variance + sigma[0] ** 2) * spectrum.forward(x))

    run(model, x, schedule(erk.SIGMA_SPACE, 10), "dpm_2", erk.SIGMA_SPACE, "calibrated", trace=trace)
    assert all(value < 0.5 for step in trace.steps[-4:-1] for value in step.data_std)


@pytest.mark.parametrize("name", erk.SOLVERS)
@pytest.mark.parametrize("steps", [8, 12, 20])
def test_rounding_is_no_evidence(name, steps):
    """No grain is added to an evenly coloured picture from a flow model that rounds its velocity to bfloat16."""

    def model(x, sigma):
        sigma = sigma.view(-1, 1, 1, 1)
        alpha, size = 1 - sigma, x[0, 0].numel()
        denoised = (0.64 * alpha / (0.64 * alpha**2 + sigma**2 / size) * x.mean((2, 3), keepdim=True)).expand_as(x)
        return x - sigma * ((x - denoised) / sigma).bfloat16().float()

    x, sigmas = start((4, 4, 32, 32), erk.FLOW), schedule(erk.FLOW, steps)
    grain = {}
    for mode in ("off", "calibrated"):
        result = run(model, x, sigmas, name, erk.FLOW, mode)
        grain[mode] = float((result - result.mean((2, 3), keepdim=True)).std())
    assert grain["calibrated"] < 1.5 * grain["off"] + 0.001, grain


@BOTH
@pytest.mark.parametrize("steps", [8, 12])
def test_strong_guidance_does_not_burst(process, steps):
    """With CFG, two sharp modes give steep responses. Neither the corrector nor the rule may feed them back."""
    narrow = mixture(process, (2, 8, 8), count=6, width=0.05)
    asked = mixture(process, (2, 8, 8), count=2, width=0.05)

    def model(x, sigma):
        return narrow(x, sigma) + 9 * (asked(x, sigma) - narrow(x, sigma))

    x, sigmas = start((8, 2, 8, 8), process), schedule(process, steps)
    size = {mode: run(model, x, sigmas, "abm", process, mode).abs().amax((1, 2, 3)) for mode in ("off", "calibrated")}
    assert (size["calibrated"] < 1.1 * size["off"] + 0.1).all(), size


@BOTH
@SOLVERS
@pytest.mark.parametrize("steps", [8, 16])
def test_nearer_to_the_converged_solution_on_a_mixture(name, process, steps):
    model = mixture(process, (2, 8, 8))
    x = start((24, 2, 8, 8), process, seed=5)
    fine = schedule(process, 400)
    tail = torch.logspace(math.log10(float(fine[-2])), -4.5, 100)[1:]
    converged = run(model, x, torch.cat([fine[:-1], tail, fine[-1:]]), "heun", process, "off")
    error = {
        mode: (run(model, x, schedule(process, steps), name, process, mode) - converged).flatten(1).norm(dim=1).mean()
        for mode in ("off", "calibrated")
    }
    assert error["calibrated"] < 0.85 * error["off"], error


@BOTH
@SOLVERS
def test_a_batch_of_two_is_two_batches_of_one(name, process):
    x, sigmas = start((2, 3, 8, 8), process), schedule(process, 9)
    x[1] *= 0.01
    both = run(bent, x, sigmas, name, process, "calibrated")
    for i in range(2):
        assert torch.allclose(
            both[i : i + 1], run(bent, x[i : i + 1], sigmas, name, process, "calibrated"), rtol=1e-4, atol=1e-5
        )


@BOTH
@SOLVERS
@pytest.mark.parametrize("shape", [(2, 24), (2, 3, 8), (2, 3, 7, 5), (2, 3, 2, 4, 6), (2, 1, 192)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_rank_size_and_precision(name, process, shape, dtype):
    x, sigmas = start(shape, process, dtype=dtype), schedule(process, 8)
    result = run(bent, x, sigmas, name, process, "calibrated")
    assert result.shape == shape and result.dtype == dtype and torch.isfinite(result).all()
    single = run(bent, x.float(), sigmas, name, process, "calibrated")
    tolerance = {torch.float32: 1e-6, torch.float16: 0.03, torch.bfloat16: 0.25}[dtype]
    assert (result.float() - single).norm() < tolerance * single.norm()


@SOLVERS
def test_float64_keeps_its_precision(name):
    """Where there is nothing to correct, a correction in float32 must not round the state."""
    process = erk.SIGMA_SPACE
    x, sigmas = start((2, 3, 8, 8), process, dtype=torch.float64), schedule(process, 8)[:-1]
    off, calibrated = (
        run(lambda x, sigma: torch.zeros_like(x), x, sigmas, name, process, mode) for mode in ("off", "calibrated")
    )
    assert calibrated.dtype == torch.float64
    assert torch.allclose(calibrated, off, rtol=1e-11, atol=0)


@BOTH
@SOLVERS
@pytest.mark.parametrize("size", [1e-25, 1e-6, 1e4, 1e18])
def test_enormous_and_tiny_latents_stay_finite(name, process, size):
    x, sigmas = start((2, 3, 8, 8), process) * size, schedule(process, 6)
    for model in (
        gaussian(process),
        lambda x, sigma: torch.zeros_like(x),
        lambda x, sigma: torch.full_like(x, size),
        lambda x, sigma: x,
    ):
        assert torch.isfinite(run(model, x, sigmas, name, process, "calibrated")).all()


@BOTH
@SOLVERS
def test_a_bad_sample_leaves_its_neighbours_alone(name, process):
    x, sigmas = start((3, 2, 8, 8), process), schedule(process, 8)
    result = run(spoiled(bent, float(sigmas[3]), batch=3), x, sigmas, name, process, "calibrated")
    alone = run(bent, x[[0, 2]], sigmas, name, process, "calibrated")
    assert torch.allclose(result[[0, 2]], alone, rtol=1e-4, atol=1e-5)
    assert torch.isnan(result[1]).any()


@BOTH
@SOLVERS
def test_the_kept_region_is_kept(name, process):
    """Inpainting: outside the region the model's output is the kept picture, and so is the result."""
    keep = torch.full((1, 2, 8, 8), 0.4)
    region = torch.zeros(1, 1, 8, 8)
    region[..., :3] = 1

    def model(x, sigma):
        return region * mixture(process, (2, 8, 8))(x, sigma) + (1 - region) * keep

    x, sigmas = start((2, 2, 8, 8), process), schedule(process, 8)
    result = run(model, x, sigmas, name, process, "calibrated", region=region)
    assert torch.allclose(result[..., 3:], keep[..., 3:].expand(2, -1, -1, -1), atol=1e-5)
    assert not torch.equal(result, run(model, x, sigmas, name, process, "off"))


@SOLVERS
def test_a_band_may_have_two_variances(name, monkeypatch):
    """Half of each picture is texture and half is blank.

    A claim for one variance takes much less away from the error in the texture, and leaves a larger error in all. Half
    of the scatter after multistep steps costs some noise in the blank half.
    """
    process, width = erk.FLOW, torch.full((1, 1, 16, 16), 0.01)
    width[..., :8] = 0.8

    def model(x, sigma):
        sigma = sigma.view(-1, 1, 1, 1)
        return (1 - sigma) * width**2 / ((1 - sigma) ** 2 * width**2 + sigma**2) * x

    x, sigmas = start((8, 1, 16, 16), process), schedule(process, 8)
    exact = x * width

    def errors(mode):
        """In the texture and in the blank half, away from their border."""
        off = run(model, x, sigmas, name, process, mode) - exact
        return [float(off[..., columns].square().mean().sqrt()) for columns in (slice(0, 4), slice(12, 16))]

    monkeypatch.setattr("erk.guidance.calibrated.claim.UNDECIDED", math.inf)  # a worse claim is trusted less, too
    off, calibrated = errors("off"), errors("calibrated")
    monkeypatch.setattr(Quotients, "read", _without_spread(Quotients.read))
    single = errors("calibrated")
    assert calibrated[0] < 0.45 * off[0]
    noise = 0.85 if erk.SOLVERS[name].calls == 2 else 1.45
    assert calibrated[0] < 0.5 * single[0] and calibrated[1] < noise * single[1]
    assert math.hypot(*calibrated) < math.hypot(*single)


def _without_spread(read):
    def single(self, *sums):
        places = read(self, *sums)
        places[..., 1] = 1.0
        return places

    return single


@BOTH
@SOLVERS
@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_repeated_level_changes_nothing(name, process, at):
    """After a step of length zero, what was to be corrected in hindsight is still corrected once, at the next step."""
    x, sigmas = start((2, 3, 8, 8), process), schedule(process, 8)
    repeated = torch.cat([sigmas[: at + 1], sigmas[at:]])
    expected = run(bent, x, sigmas, name, process, "calibrated")
    for options in ({}, {"trace": erk.Trace()}):
        assert torch.allclose(
            run(bent, x, repeated, name, process, "calibrated", **options), expected, rtol=1e-5, atol=1e-6
        )


@SOLVERS
@BOTH
@pytest.mark.parametrize("mode", erk.MODES)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 40)], ids=["image", "packed"])
def test_an_observer_changes_nothing(name, process, mode, shape):
    """Without an observer less of the past is kept, but the result is the same."""
    x, sigmas = start(shape, process), schedule(process, 8)
    assert torch.equal(
        run(bent, x, sigmas, name, process, mode), run(bent, x, sigmas, name, process, mode, trace=erk.Trace())
    )


@BOTH
@SOLVERS
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 4, 2, 6, 6), (2, 3, 40)], ids=["image", "video", "audio"])
@pytest.mark.parametrize("piece", [1, 150], ids=["rows", "some"])
def test_large_latents_in_pieces(name, process, shape, piece, monkeypatch):
    """The size of the pieces makes no difference, neither to the result nor to the measured values."""
    x, sigmas, whole, parts = start(shape, process), schedule(process, 8), erk.Trace(), erk.Trace()
    expected = run(bent, x, sigmas, name, process, "calibrated", trace=whole)
    monkeypatch.setattr("erk.guidance.calibrated.spectrum._PIECE", {"cpu": piece})
    assert len(spectrum_of(x).pieces) > 1
    assert torch.allclose(
        run(bent, x, sigmas, name, process, "calibrated", trace=parts), expected, rtol=1e-5, atol=1e-5
    )
    for a, b in zip(whole.steps, parts.steps, strict=True):
        for told in ("data_std", "valid", "believed", "correction"):
            assert getattr(a, told) == pytest.approx(getattr(b, told), rel=2e-3, nan_ok=True)


@SOLVERS
def test_runs_do_not_affect_each_other(name):
    guidance, process = Calibrated(), erk.SIGMA_SPACE
    solver, x, sigmas = erk.make_solver(name, process), start((1, 2, 8, 8), process), schedule(process, 8)
    first = erk.integrate(bent, x, sigmas, solver, guidance, process)
    erk.integrate(bent, start((3, 1, 4, 4), process), sigmas[2:], solver, guidance, process)
    assert torch.equal(erk.integrate(bent, x, sigmas, solver, guidance, process), first)


@BOTH
@SOLVERS
def test_inverting_then_sampling_returns(name, process):
    """12 steps up and down a Gaussian end within 1 % of their start, or at least as close as with mode off.

    The errors of mode off cancel.
    """
    up = torch.linspace(0.05, 0.8, 13) if process.is_flow else torch.logspace(-1, 1, 13)
    x, distance = start((2, 3, 8, 8), process).clamp(-1, 1), {}
    for mode in ("off", "calibrated"):
        there = run(gaussian(process), x, up, name, process, mode)
        distance[mode] = (run(gaussian(process), there, up.flip(0), name, process, mode) - x).norm()
    assert distance["calibrated"] < max(1.02 * distance["off"], 0.01 * x.norm()), distance


@BOTH
def test_the_trace_shows_the_estimate(process):
    trace, scale = erk.Trace(), 0.7
    x, sigmas = start((2, 3, 8, 8), process), schedule(process, 8)
    run(gaussian(process, scale), x, sigmas, "dpm_2", process, "calibrated", trace=trace)
    for step in trace.steps[1:]:
        assert step.data_std == pytest.approx([scale] * 2, rel=0.02)
        assert step.valid == pytest.approx([1.0] * 2, abs=1e-4)
        assert all(step.active)
    assert all(value > 0 for step in trace.steps[:-1] for value in step.stiffness)
    run(bent, x, sigmas, "dpm_2", process, "paper", trace=trace)
    assert all(math.isnan(value) for step in trace.steps for value in step.data_std)


def test_model_calls_are_the_solvers_own():
    model = Counted(bent)
    run(
        model,
        start((1, 1, 4, 4), erk.SIGMA_SPACE),
        schedule(erk.SIGMA_SPACE, 10),
        "heun",
        erk.SIGMA_SPACE,
        "calibrated",
    )
    assert model.calls == 19


class TestSpectrum:
    SHAPES = [
        (2, 3, 8, 8),
        (1, 2, 5, 12),
        (2, 2, 3, 4, 6),
        (2, 1, 30),
        (2, 4, 9),
        (2, 7),
        (1, 1, 1, 2),
        (2, 3, 1, 9),
        (1, 2, 1, 6, 6),
        (3, 20, 64, 64),  # in pieces
        (5, 3, 48, 40),
    ]

    @pytest.mark.parametrize("shape", SHAPES)
    def test_orthonormal(self, shape):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        spectrum = spectrum_of(x)
        coefficients = spectrum.forward(x)
        assert spectrum.by_sample(coefficients).norm(dim=1) == pytest.approx(x.flatten(1).norm(dim=1), rel=1e-5)
        assert torch.allclose(spectrum.inverse(coefficients), x, atol=1e-5)
        assert torch.allclose(spectrum.inverse(coefficients.clone(), in_place=True), x, atol=1e-5)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_coefficients_have_their_own_memory(self, shape):
        """They are changed in place, but the latent and its drift must not change with them."""
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        before, spectrum = x.clone(), spectrum_of(x)
        coefficients = spectrum.forward(x)
        latent = spectrum.inverse(coefficients)
        coefficients.zero_()
        assert torch.equal(x, before) and torch.allclose(latent, before, atol=1e-5)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_pieces_are_made_of_whole_rows_in_order(self, shape):
        """Each row is in one piece, in order. A piece holds whole samples or is part of one."""
        spectrum, channels = spectrum_of(torch.zeros(shape)), shape[1] if len(shape) > 2 else 1
        rows = [list(range(shape[0] * channels))[piece] for piece in spectrum.pieces]
        assert [row for piece in rows for row in piece] == list(range(shape[0] * channels))
        assert all(len(piece) % channels == 0 or piece[0] // channels == piece[-1] // channels for piece in rows)
        assert (len(rows) > 1) == (shape in [(3, 20, 64, 64)])

    def test_a_constant_picture_is_one_coefficient_in_the_first_band(self):
        spectrum = spectrum_of(torch.zeros(1, 1, 8, 8))
        coefficients = spectrum.forward(torch.ones(1, 1, 8, 8))
        assert coefficients[0, 0, 0] == pytest.approx(8.0) and coefficients.flatten()[1:].abs().max() < 1e-5
        assert spectrum.spread(torch.arange(spectrum.bands).float())[0] == 0

    def test_cosines_are_eigenvectors_of_the_mirrored_difference(self):
        """The DCT-II is checked without its formula: by second differences with mirrored ends.

        Bands are in the order of frequency.
        """
        spectrum, n = spectrum_of(torch.zeros(1, 1, 1, 9)), 9
        shape = spectrum.forward(torch.zeros(1, 1, 1, 9)).shape
        basis = torch.stack([spectrum.inverse(row.view(shape)).flatten() for row in torch.eye(shape.numel())])
        basis = basis[basis.norm(dim=1) > 0.5]  # places that only fill up a block reach nothing
        padded = torch.cat([basis[:, :1], basis, basis[:, -1:]], dim=1)
        difference = padded[:, :-2] - 2 * padded[:, 1:-1] + padded[:, 2:]
        eigenvalues = 2 * torch.cos(math.pi * torch.arange(n) / n) - 2
        assert torch.allclose(difference, eigenvalues[:, None] * basis, atol=1e-5)

    def test_band_means(self):
        """Compared with bands computed from each cosine's frequency."""
        height, width = 6, 10
        spectrum = spectrum_of(torch.zeros(2, 3, height, width))
        latent = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
        coefficients = spectrum.forward(latent)
        means = spectrum.band_means(coefficients.square().sum(-1))

        def cosines(n):
            basis = torch.cos(math.pi / n * torch.arange(n)[:, None] * (torch.arange(n) + 0.5))
            return basis / basis.norm(dim=1, keepdim=True)

        energy = (cosines(height) @ latent @ cosines(width).T).square().flatten(2)
        radius = ((torch.arange(height)[:, None] * width / height) ** 2 + torch.arange(width) ** 2).sqrt().flatten()
        band = torch.where(radius < 0.5, 0, 1 + torch.floor(2 * torch.log2(radius.clamp(min=1)) + 1e-4))
        expected = torch.stack([energy[..., band == value].mean(-1) for value in band.unique()], dim=-1)
        assert torch.allclose(means.view(2, 3, -1), expected, atol=1e-5)
        # And a band's value reaches its own coefficients. Those that are padding are zero.
        ones = torch.ones_like(coefficients) * spectrum.spread(torch.arange(spectrum.bands) + 1.0) * (coefficients != 0)
        assert ones.sum(dim=(1, 2)) == pytest.approx(
            float(((band[:, None] == band.unique()).float().argmax(1) + 1).sum())
        )

    def test_an_axis_as_long_as_a_large_latent_is_transformed(self):
        assert spectrum_of(torch.zeros(1, 1, 1, 2048)).bands > 15

    def test_an_endless_axis_is_left_alone(self):
        spectrum = spectrum_of(torch.zeros(1, 1, 1, 50_000))
        assert not spectrum.has_space
        assert torch.equal(spectrum.forward(torch.ones(1, 1, 1, 50_000)).flatten(), torch.ones(50_000))


U = [0.001, 0.0011, 0.0015, 0.004, 0.02, 0.2, 0.5, 0.8, 0.97, 0.999, 0.9999, 1.0]


def means_of(quotients, u, weight=None):
    """Means of eps_A eps_B, eps_A^2 and eps_B^2 over coefficients with these u, [..., u], float32.

    Beside u, what the solver's own step got wrong scatters q.
    """
    u = torch.as_tensor(u, dtype=torch.float64)
    r = quotients.r
    q = r + u * (1 - r) if quotients.euler else (r**2 + u * (1 - r**2)).sqrt()
    weight = torch.ones_like(u) if weight is None else weight
    product, square, one = ((weight * value).mean(-1, keepdim=True) for value in (q, q**2, torch.ones_like(q)))
    if quotients.multistep:
        square = square + (1 / SCATTER_OF_U - 1) * (square - product**2 / one)
    return [mean.float() for mean in (product, square, one)]


R = pytest.mark.parametrize("r", [0.0, 0.2, 0.9, 0.999, 1.001, 4.0])
RELATIONS = pytest.mark.parametrize(
    "relation",
    [{"euler": True}, {"euler": False}, {"euler": False, "multistep": True}],
    ids=["Euler step", "one solution", "multistep"],
)


@R
@RELATIONS
def test_one_fraction_of_noise_is_found(r, relation):
    """From a band's means to its place, over the whole range, for both relations."""
    quotients = Quotients(1.0, r, starts_at_a=True, **relation)
    for u in U[:-1]:
        place = quotients.read(*means_of(quotients, [[u]]))[0, 0]
        rounding = 1.2e-6 / abs(1 - r)  # float32's precision for q so close to r and to 1
        found = torch.sigmoid(place[0].double() * LOGIT_MAX)
        assert float(found) == pytest.approx(u, rel=1e-4, abs=rounding)
        assert 1 - float(found) == pytest.approx(1 - u, rel=1e-2, abs=rounding)
        assert float(place[1]) > 0.98 - 10 * rounding


@pytest.mark.parametrize("r", [0.0, 0.2, 0.9, 4.0])
@RELATIONS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_widest_spread_is_1(r, relation, share):
    """Where u is either 0 or 1, and a spread in between where it is nearer to its mean."""
    quotients, u = Quotients(1.0, r, starts_at_a=True, **relation), (torch.arange(1000) < 1000 * share).double()
    found = [quotients.read(*means_of(quotients, (share + width * (u - share))[None])) for width in (1.0, 0.5, 0.0)]
    logit = math.log(share / (1 - share)) / LOGIT_MAX
    spreads = [float(one[0, 0, 1]) for one in found]
    assert all(float(one[0, 0, 0]) == pytest.approx(logit, abs=1e-3 + 1e-6 / abs(1 - r)) for one in found)
    assert spreads[0] == pytest.approx(-1, abs=1e-2) and spreads[2] > 0.99
    assert spreads[0] + 0.1 < spreads[1] < 0.9


@RELATIONS
def test_what_cannot_be_is_left_alone_or_counts_as_expanding(relation):
    """u of 1 and above: nothing is claimed. u below 0 is an expanding mode, which has no spread."""
    for r in (0.3, 3.0):
        quotients = Quotients(1.0, r, starts_at_a=True, **relation)

        def place(q, square=None, quotients=quotients):
            q = torch.tensor([[q]])
            square = q**2 if square is None else torch.tensor([[square]])
            return quotients.read(q, square, torch.ones(1, 1))[0, 0]

        beyond = r - 0.1 * (1 - r)
        image = plane(torch.ones_like(logits()), quotients, math.inf)
        for q in (1.0, 1 + 0.1 * (1 - r)):
            assert float(place(q)[0]) > 0.99
            assert (look_up(image, place(q)[None, None]) == 0).all()
        expanding = math.log(NOISE_FRACTION_EXPANDING / (1 - NOISE_FRACTION_EXPANDING)) / LOGIT_MAX
        for q in (beyond, -5.0 if r < 1 else 5.0):
            assert float(place(q)[0]) == pytest.approx(expanding, abs=1e-5) and float(place(q)[1]) > 1 - 1e-4
    # the mean of q is beyond r, though that of q^2 is not
    quotients = Quotients(1.0, 0.3, starts_at_a=True, **relation)
    place = quotients.read(*torch.tensor([[[-0.5]], [[0.5]], [[1.0]]]))[0, 0]
    assert float(place[0]) == pytest.approx(expanding, abs=1e-5) and float(place[1]) >= 1


@pytest.mark.parametrize(("relation", "numbers"), [({"euler": True}, 800), ({"euler": False, "multistep": True}, 400)])
def test_a_difference_that_may_be_chance(relation, numbers):
    """The mean of 1 - q is 0.05 with a deviation of 1, so its standard error is 0.05 with 400 numbers."""
    quotients = Quotients(1.0, 0.2, starts_at_a=True, **relation)
    sums = [torch.tensor([[value]]) for value in (0.95, 0.95**2 + 1.0, 1.0)]
    few, many = (bool(quotients.may_be_chance(*sums, torch.tensor([n * numbers]))) for n in (0.9, 1.1))
    assert few and not many


@BOTH
def test_the_last_step_alone_makes_no_claim_of_what_may_be_chance(process, trusting):
    """A prediction that trembles, on few numbers. No later evaluation would tell it from a change."""
    draws = torch.Generator().manual_seed(0)
    x, trace = start((100, 1, 16), process), erk.Trace()

    def model(x, sigma):
        return 0.5 + 0.01 * torch.randn(x.shape, generator=draws)

    run(model, x, schedule(process, 6), "heun", process, "calibrated", trace=trace)
    *others, last = (sum(step.active) for step in trace.steps)
    assert last < 25 and max(others) > 40, (others, last)


@pytest.mark.parametrize(("growth", "share"), [(4.0, 1.0), (15.9, 1.0), (32.0, 0.5), (1e4, 16e-4)])
def test_a_small_claim_earns_no_trust_for_a_far_larger_one(growth, share):
    """Each claim is measured by the noise that its step removes."""
    process, x = erk.SIGMA_SPACE, torch.zeros(1, 1, 16)
    rule = CalibratedRule(RunFacts(erk.make_solver("heun", process), process, x.shape, x.device))
    rule.trust, rule._verified = torch.tensor([0.8]), torch.tensor([0.01])
    assert rule._trust(torch.tensor([0.01 * growth])).tolist() == pytest.approx([0.8 * share])
    assert rule._trust(torch.zeros(1)).tolist() == pytest.approx([0.8])
    rule._verified.zero_()
    assert rule._trust(torch.tensor([1e-9])).tolist() == [0.0]
    assert rule._trust(torch.zeros(1)).isfinite().all()


@pytest.mark.parametrize("starts_at_a", [True, False])
@RELATIONS
def test_a_plane_holds_the_best_line_for_a_spread(starts_at_a, relation):
    """Compared with least squares over 200,000 draws of a logit-normal u."""
    quotients = Quotients(1.0, 0.4, starts_at_a=starts_at_a, **relation)
    image = plane(torch.exp(-((logits() / 3) ** 2)) - 0.2, quotients, math.inf)
    for centre, width in ((0.3, 1.0), (-2.0, 2.0), (3.0, 4.0)):
        draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        logit = centre + width * draws
        q, c = 1 - quotients.distance(logit), torch.exp(-((logit.clamp(-14, 14) / 3) ** 2)) - 0.2
        wanted = c * q if starts_at_a else c
        expected = torch.linalg.lstsq(torch.stack([q, torch.ones_like(q)], 1), wanted[:, None]).solution[:, 0]
        if quotients.multistep:  # q scatters more, so the slope is less; the line still passes through the means
            expected += (1 - SCATTER_OF_U) * expected[0] * torch.tensor([-1.0, float(q.mean())])
        means = means_of(quotients, torch.sigmoid(logit)[None])
        found = look_up(image, quotients.read(*means))[:, 0, 0]
        assert found.tolist() == pytest.approx(expected.tolist(), abs=0.04), (centre, width)


def test_a_plane_claims_nothing_where_all_is_noise_and_follows_c_without_a_spread():
    quotients = Quotients(1.0, 0.4, False, False)
    c = torch.rand(len(logits()), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = plane(c, quotients, 0.1)
    assert (image[..., -1] == 0).all()
    assert (image[0, 0, -1] == 0).all() and torch.equal(image[0, 1, -1, :-3], c[:-3].float())
    assert image.isfinite().all()


def test_a_small_part_of_a_band_does_not_rule_its_claim():
    """DEIS misses some 3000 times eps in the first steps of a flow model, where u is next to 0."""
    solver, quotients = (
        erk.make_solver("deis", erk.FLOW),
        Quotients.of_levels(erk.FLOW, 0.93, 0.98, euler=False, starts_at_a=True),
    )
    image = missed_by_step(solver, erk.FLOW, 0.93, 0.86, (0.98, 1.0), quotients)
    assert image[0, 0, -1].abs().max() > 1000
    at = torch.tensor([[[6.0 / LOGIT_MAX, 0.5]]])  # a band that is nearly all noise, with a spread
    assert look_up(image, at).abs().max() < 1


def test_tabulated_correction_is_the_solvers_own_defect():
    """Table and interpolation, compared with the definition for single u in float64."""
    process, sigma, sigma_next = erk.FLOW, 0.6, 0.4
    for name in erk.SOLVERS:
        solver = erk.make_solver(name, process)
        levels = (0.75, 1.0)[: solver.memory]  # 1.0: where a flow model starts, and its solution bends most
        quotients = Quotients(sigma, 0.4, False, True)
        image = missed_by_step(solver, process, sigma, sigma_next, levels, quotients)
        for u in U[1:-1]:  # the first lies between two points of the grid, and c bends there
            variance = (sigma / (1 - sigma)) ** 2 * (1 - u) / u

            def denoise(x, sigma, variance=variance):
                alpha = 1 - sigma
                return Evaluation.at(x, sigma, alpha * variance / (alpha**2 * variance + sigma**2) * x)

            def std(sigma, variance=variance):
                return torch.tensor([[math.sqrt((1 - sigma) ** 2 * variance + sigma**2)]], dtype=torch.float64)

            history = [denoise(std(level), level) for level in levels]
            current = denoise(std(sigma), sigma)
            reached = solver.step(denoise, current, sigma_next, history).x_next
            noise = (current.x - (1 - sigma) * current.denoised) / sigma
            expected = ((std(sigma_next) - reached) / noise).item()
            at = torch.tensor([[[math.log(u / (1 - u)) / LOGIT_MAX, 1.0]]])
            of_start, of_other = look_up(image, at).flatten().tolist()
            assert of_start == pytest.approx(expected, rel=1e-3, abs=1e-5 * image[0, 0, -1].abs().max().item())
            assert of_other == 0
