"""The calibrated rule: exact where its model is, better where it is not, harmless everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problems import PROCESSES, Counted, bent, gaussian, gaussian_std, mixture, run, schedule, spoiled, start

import erk
from erk.evaluation import Evaluation
from erk.guidance import Calibrated
from erk.guidance.calibrated import CalibratedRule
from erk.solvers import Solver, Step
from erk.spectrum import Spectrum

BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
SOLVERS = pytest.mark.parametrize("name", erk.SOLVERS)


@dataclass(frozen=True)
class Kutta3(Solver):
    """Kutta's third-order method: a solver the package does not have, to see that it is calibrated all the same."""

    name: ClassVar[str] = "kutta_3"

    def step(self, denoise, current, sigma_next, history):
        if sigma_next == 0:
            return Step(current.euler(0.0))
        dt, middle = sigma_next - current.sigma, (current.sigma + sigma_next) / 2
        second = denoise(current.euler(middle), middle)
        third = denoise(current.x + dt * (2 * second.d - current.d), sigma_next)
        return Step(current.x + dt * (current.d + 4 * second.d + third.d) / 6, (second, third))

    def pair(self, current, step, sigma_next, history):
        return erk.EmbeddedPair(current, step.stages[0], current.sigma - sigma_next, -1.0) if step.stages else None


def solve(solver, mode, model, x, sigmas, process, **options):
    return erk.integrate(model, x, sigmas, solver, erk.make_guidance(mode, None, None, len(sigmas) - 1), process, **options)


@BOTH
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
@pytest.mark.parametrize("solver", [*erk.SOLVERS, "kutta_3"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 40)], ids=["image", "packed"])
def test_exact_on_a_gaussian(solver, scale, process, shape):
    """The end point is S/std(sigma_0) times the start, whatever the solver, the steps, or S."""
    solver = Kutta3() if solver == "kutta_3" else erk.make_solver(solver, process)
    x, sigmas = start(shape, process), schedule(process, 7)
    exact = x * scale / gaussian_std(process, float(sigmas[0]), scale)
    error = {
        mode: ((solve(solver, mode, gaussian(process, scale), x, sigmas, process) - exact).norm() / exact.norm()).item()
        for mode in ("off", "calibrated")
    }
    assert error["calibrated"] < 1e-3 * error["off"] + 2e-5, error


@BOTH
@SOLVERS
def test_exact_where_each_band_has_a_variance_of_its_own(name, process):
    """A Gaussian whose variance falls with the frequency: one number would not do."""
    x = start((2, 2, 8, 8), process)
    spectrum = Spectrum(x)
    variance = spectrum.spread(torch.logspace(0, -3, spectrum.bands).expand(2, 2, -1))  # S^2 of each coefficient

    def model(x, sigma):
        sigma = sigma.view(-1, 1, 1)
        alpha = 1 - sigma if process.is_flow else torch.ones_like(sigma)
        return spectrum.inverse(alpha * variance / (alpha**2 * variance + sigma**2) * spectrum.forward(x))

    sigmas = schedule(process, 7)
    first = float(sigmas[0])
    std = (process.alpha(first) ** 2 * variance + first**2).sqrt()
    exact = spectrum.inverse(spectrum.forward(x) * variance.sqrt() / std)
    off, calibrated = (run(model, x, sigmas, name, process, mode) for mode in ("off", "calibrated"))
    # The last step, which is what counts in flow models, also looks at places and not at bands alone.
    assert (calibrated - exact).norm() < (0.35 if process.is_flow else 0.01) * (off - exact).norm()


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
    assert error["calibrated"] < 0.8 * error["off"], error


@BOTH
@SOLVERS
def test_a_batch_of_two_is_two_batches_of_one(name, process):
    x, sigmas = start((2, 3, 8, 8), process), schedule(process, 9)
    x[1] *= 0.01
    both = run(bent, x, sigmas, name, process, "calibrated")
    for i in range(2):
        assert torch.allclose(both[i : i + 1], run(bent, x[i : i + 1], sigmas, name, process, "calibrated"), rtol=1e-4, atol=1e-5)


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


@BOTH
@SOLVERS
@pytest.mark.parametrize("size", [1e-25, 1e-6, 1e4, 1e18])
def test_enormous_and_tiny_latents_stay_finite(name, process, size):
    x, sigmas = start((2, 3, 8, 8), process) * size, schedule(process, 6)
    for model in (gaussian(process), lambda x, sigma: torch.zeros_like(x), lambda x, sigma: torch.full_like(x, size), lambda x, sigma: x):
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


@pytest.mark.parametrize("name", ["heun", "deis"])
def test_blank_places_stay_blank(name, monkeypatch):
    """Half of each picture is texture, half is blank: the last step's correction must not put noise into the blank half."""
    process, width = erk.FLOW, torch.full((1, 1, 16, 16), 0.01)
    width[..., :8] = 0.8

    def model(x, sigma):
        sigma = sigma.view(-1, 1, 1, 1)
        return (1 - sigma) * width**2 / ((1 - sigma) ** 2 * width**2 + sigma**2) * x

    x, sigmas = start((8, 1, 16, 16), process), schedule(process, 8)
    exact = x * width
    off, calibrated = (run(model, x, sigmas, name, process, mode) for mode in ("off", "calibrated"))

    def error(result, part):
        return (result - exact)[part].square().mean().sqrt()

    blank, textured = (..., slice(12, 16)), (..., slice(0, 4))
    assert error(calibrated, textured) < 0.7 * error(off, textured)
    monkeypatch.setattr(CalibratedRule, "_held_back_in_blank_places", lambda self, value, table, estimate: value)
    blind = run(model, x, sigmas, name, process, "calibrated")
    assert error(blind, blank) > 0.02
    assert error(calibrated, blank) < 0.5 * error(blind, blank)


@SOLVERS
def test_runs_do_not_know_of_each_other(name):
    guidance, process = Calibrated(), erk.SIGMA_SPACE
    solver, x, sigmas = erk.make_solver(name, process), start((1, 2, 8, 8), process), schedule(process, 8)
    first = erk.integrate(bent, x, sigmas, solver, guidance, process)
    erk.integrate(bent, start((3, 1, 4, 4), process), sigmas[2:], solver, guidance, process)
    assert torch.equal(erk.integrate(bent, x, sigmas, solver, guidance, process), first)


@BOTH
@SOLVERS
def test_inverting_then_sampling_returns_with_few_steps(name, process):
    """On a Gaussian both ways are exact, so 12 steps up and down end where they began."""
    up = torch.linspace(0.05, 0.8, 13) if process.is_flow else torch.logspace(-1, 1, 13)
    x = start((2, 3, 8, 8), process).clamp(-1, 1)
    there = run(gaussian(process), x, up, name, process, "calibrated")
    back = run(gaussian(process), there, up.flip(0), name, process, "calibrated")
    off = run(gaussian(process), run(gaussian(process), x, up, name, process, "off"), up.flip(0), name, process, "off")
    assert (back - x).norm() < 0.05 * (off - x).norm() + 1e-4 * x.norm()


@BOTH
def test_the_trace_tells_the_estimate(process):
    trace, scale = erk.Trace(), 0.7
    x, sigmas = start((2, 3, 8, 8), process), schedule(process, 8)
    run(gaussian(process, scale), x, sigmas, "dpm_2", process, "calibrated", trace=trace)
    for step in trace.steps[1:]:
        assert step.data_std == pytest.approx([scale] * 2, rel=0.02)
        assert step.valid == pytest.approx([1.0] * 2, abs=1e-4)
        assert all(0.5 < kept <= 1 for kept in step.kept)
        assert all(step.active)
    assert all(value > 0 for step in trace.steps[:-1] for value in step.stiffness)
    run(bent, x, sigmas, "dpm_2", process, "paper", trace=trace)
    assert all(math.isnan(value) for step in trace.steps for value in step.data_std)


def test_model_calls_are_the_solvers_own():
    model = Counted(bent)
    run(model, start((1, 1, 4, 4), erk.SIGMA_SPACE), schedule(erk.SIGMA_SPACE, 10), "heun", erk.SIGMA_SPACE, "calibrated")
    assert model.calls == 19


class TestSpectrum:
    @pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 5, 12), (2, 2, 3, 4, 6), (2, 1, 30), (2, 4, 9), (2, 7), (1, 1, 1, 2)])
    def test_orthonormal(self, shape):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        spectrum = Spectrum(x)
        coefficients = spectrum.forward(x)
        assert coefficients.flatten(1).norm(dim=1) == pytest.approx(x.flatten(1).norm(dim=1), rel=1e-5)
        assert torch.allclose(spectrum.inverse(coefficients), x, atol=1e-5)

    def test_a_constant_picture_is_one_coefficient_in_the_first_band(self):
        spectrum = Spectrum(torch.zeros(1, 1, 8, 8))
        coefficients = spectrum.forward(torch.ones(1, 1, 8, 8))[0, 0]
        assert coefficients[0] == pytest.approx(8.0) and coefficients[1:].abs().max() < 1e-5
        assert spectrum.spread(torch.arange(spectrum.bands).float().view(1, 1, -1))[0, 0, 0] == 0

    def test_cosines_are_eigenvectors_of_the_mirrored_difference(self):
        """What defines the DCT-II, without its formula: second differences with mirrored ends."""
        spectrum, n = Spectrum(torch.zeros(1, 1, 1, 9)), 9
        basis = torch.stack([spectrum.inverse(row.view(1, 1, n)).flatten() for row in torch.eye(n)])
        padded = torch.cat([basis[:, :1], basis, basis[:, -1:]], dim=1)
        difference = padded[:, :-2] - 2 * padded[:, 1:-1] + padded[:, 2:]
        eigenvalues = 2 * torch.cos(math.pi * torch.arange(n) / n) - 2
        assert torch.allclose(difference, eigenvalues[:, None] * basis, atol=1e-5)

    def test_band_means(self):
        spectrum = Spectrum(torch.zeros(2, 3, 6, 10))
        values = torch.rand(2, 3, 60)
        index = spectrum.spread(torch.arange(float(spectrum.bands)).view(1, 1, -1))[0, 0]
        expected = torch.stack([values[..., index == band].mean(-1) for band in range(spectrum.bands)], dim=-1)
        assert torch.allclose(spectrum.band_mean(values), expected, atol=1e-6)

    def test_an_endless_axis_is_left_alone(self):
        spectrum = Spectrum(torch.zeros(1, 1, 1, 50_000))
        assert torch.equal(spectrum.forward(torch.ones(1, 1, 1, 50_000)), torch.ones(1, 1, 50_000))


def test_tabulated_correction_is_the_solvers_own_defect():
    """The table against the definition, worked out anew for one u in float64."""
    from erk.guidance.calibrated import TABLE, _missed_by_step

    process, sigma, sigma_next = erk.FLOW, 0.6, 0.4
    for name in erk.SOLVERS:
        solver = erk.make_solver(name, process)
        levels = (0.75, 0.85)[: solver.memory]
        root = 512 / TABLE
        variance = (sigma / (1 - sigma)) ** 2 * root**2 / (1 - root**2)

        def denoise(x, sigma, variance=variance):
            alpha = 1 - sigma
            return Evaluation.at(x, sigma, alpha * variance / (alpha**2 * variance + sigma**2) * x)

        def std(sigma, variance=variance):
            return torch.tensor(math.sqrt((1 - sigma) ** 2 * variance + sigma**2), dtype=torch.float64)

        history = [denoise(std(level), level) for level in levels]
        reached = solver.step(denoise, denoise(std(sigma), sigma), sigma_next, history).x_next
        current = denoise(std(sigma), sigma)
        noise = (current.x - (1 - sigma) * current.denoised) / sigma
        expected = (std(sigma_next) - reached) / noise
        assert _missed_by_step(solver, process, sigma, sigma_next, levels, sigma)[512].item() == pytest.approx(expected.item(), rel=1e-6)
