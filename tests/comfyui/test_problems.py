"""The benchmark's problems: posterior means (against brute force), guidance (against ComfyUI's), ends of the ODE."""

from __future__ import annotations

import math

import pytest
import torch

from bench.instruments import drawings
from bench.instruments.comfy_model import Bench
from bench.instruments.distributions import Sphere, Tiles, bessel_ratio
from bench.instruments.problems import problem
from bench.instruments.reference import converge, rms


def start(name: str, kind: str, sigma: float, batch: int = 3) -> torch.Tensor:
    """Noisy samples of a problem, [batch, *shape] float64: roughly what a sampler gets at a level."""
    what = problem(name)
    alpha = 1 - sigma if kind == "flow" else 1.0
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((batch, *what.shape), generator=generator, dtype=torch.float64)
    return math.sqrt((alpha * what.distribution.deviation) ** 2 + sigma**2) * noise


@pytest.mark.parametrize("order", [-0.5, 0.5, 3.0, 31.0, 50.0])
def test_bessel_ratio(order):
    from scipy.special import ive

    z = torch.tensor([[1.0, 10.0, 100.0, 499.0], [501.0, 1e4, 1e6, 30.0]], dtype=torch.float64)
    expected = torch.from_numpy(ive(order + 1, z.numpy()) / ive(order, z.numpy()))
    torch.testing.assert_close(bessel_ratio(order, z), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(bessel_ratio(order, z.float()).double(), expected, rtol=1e-5, atol=0)


def test_bessel_ratio_at_the_ends():
    zero, tiny, huge = bessel_ratio(0.5, torch.tensor([0.0, 1e-6, 1e12], dtype=torch.float64)).tolist()
    assert zero == pytest.approx(0, abs=1e-15)
    assert tiny == pytest.approx(1e-6 / 3, rel=1e-9)
    assert huge == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 4.0), (0.4, 0.6)])
def test_sphere_is_the_posterior_mean(alpha, sigma):
    """Compared with a sum over evenly distributed points on a sphere in three dimensions (a Fibonacci lattice)."""
    count = 40_000
    height = 1 - 2 * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    turn = torch.arange(count, dtype=torch.float64) * math.pi * (3 - math.sqrt(5))
    across = (1 - height**2).sqrt()
    points = 2.0 * torch.stack([across * turn.cos(), across * turn.sin(), height], dim=1)
    x = torch.tensor([[0.5, -2.0, 1.0]], dtype=torch.float64)
    weights = torch.softmax(-(x - alpha * points).square().sum(1) / (2 * sigma**2), 0)
    mean = Sphere(torch.eye(3, dtype=torch.float64), 2.0).posterior_mean(
        x, *(torch.tensor([[t]]).double() for t in (alpha, sigma)), None
    )
    torch.testing.assert_close(mean[0], weights @ points, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 0.9])
@pytest.mark.parametrize("name", ["flat-areas", "even-colour", "gratings"])
def test_low_rank_mixtures_against_dense_algebra(name, sigma):
    """The same Gaussians with their whole covariance matrices, on a flow model."""
    what = problem(name)
    c = what.distribution._constants.at(torch.float64)
    x, alpha = start(name, "flow", sigma, 1), 1 - sigma
    flat, densities, means = x.flatten(), [], []
    for weight, mean, basis, variances in zip(c["log_weights"], c["means"], c["bases"], c["variances"], strict=True):
        covariance = basis @ variances.diag() @ basis.T
        seen = alpha**2 * covariance + sigma**2 * torch.eye(len(flat), dtype=torch.float64)
        offset = flat - alpha * mean
        solved = torch.linalg.solve(seen, offset)
        densities.append(weight - 0.5 * (offset @ solved + torch.linalg.slogdet(seen).logabsdet))
        means.append(mean + alpha * covariance @ solved)
    expected = torch.softmax(torch.stack(densities), 0) @ torch.stack(means)
    torch.testing.assert_close(what.denoise(x, sigma, flow=True).flatten(), expected, rtol=1e-7, atol=1e-8)


def test_tiles_are_their_squares():
    what = problem("line-art-0.02")
    tiles = what.distribution
    assert isinstance(tiles, Tiles)
    x = start("line-art-0.02", "eps", 0.7, 2)
    condition = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.0, 0.8]], dtype=torch.float64)
    together = what.predict(x, 0.7, False, condition)
    level = torch.tensor([[0.7]], dtype=torch.float64)
    for sample, row, column in ((0, 0, 0), (1, 2, 3), (1, 3, 0)):
        place = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
        square = x[sample, 0][place].reshape(1, -1)
        alone = tiles.tile.posterior_mean(square, torch.ones_like(level), level, condition[sample : sample + 1])
        torch.testing.assert_close(together[sample, 0][place].flatten(), alone.flatten())


def test_drawings():
    pictures, labels = drawings.line_art(60)
    assert set(pictures.unique().tolist()) == {-1.0, 1.0}
    assert len(pictures.unique(dim=0)) == 60 and set(labels.tolist()) == {0, 1, 2}
    masks = drawings.flat_areas(5)
    assert masks.sum(1).max() == 1 and masks.sum((2, 3)).min() >= 4
    waves = drawings.gratings(16, 4)
    torch.testing.assert_close(waves.mT @ waves, torch.eye(2, dtype=torch.float64).expand(4, 2, 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("name", ["digits-negative", "digits-interval", "line-art-interval", "digits-cfg-4"])
def test_the_reference_solves_what_comfyui_samples(name, kind):
    """The guided output that a sampler gets, inside and outside the interval, is the one that the reference uses."""
    what = problem(name)
    bench = Bench(what, kind, what.noise(4))
    levels = (0.9, 0.7, 0.4, 0.2) if kind == "flow" else (9.0, 3.0, 0.7, 0.2)
    assert what.interval is None or {what.guided(level, bench.flow) for level in levels} == {True, False}
    seen = []

    def look(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for level in levels:
            at = start(name, kind, level, 4).float()
            seen.append((at, level, model(at, torch.full((4,), level), **extra_args)))
        return x

    bench.sample(look, torch.tensor([levels[0], 0.0]))
    for at, level, denoised in seen:
        torch.testing.assert_close(
            denoised.double(), what.denoise(at.double(), level, bench.flow), atol=2e-3, rtol=1e-3
        )


def test_the_negative_prompt_is_another_class():
    what = problem("digits-negative")
    assert what.negative_condition(3).argmax(1).tolist() == [1, 2, 3] and what.condition(3).argmax(1).tolist() == [
        0,
        1,
        2,
    ]
    assert problem("digits-cfg-4").negative_condition(3).sum() == 0


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_rounded_models_are_rounded_and_their_reference_is_not(kind):
    what, exact = problem("digits-bf16"), problem("digits-0.30")
    sigma, flow = 0.6, kind == "flow"
    x = start("digits-bf16", kind, sigma)
    torch.testing.assert_close(what.denoise(x, sigma, flow), exact.denoise(x, sigma, flow), rtol=0, atol=0)
    output = (x - what.predict(x, sigma, flow, None)) / sigma
    torch.testing.assert_close(output.bfloat16().double(), output, rtol=0, atol=1e-12)
    error = (what.predict(x, sigma, flow, None) - exact.predict(x, sigma, flow, None)).abs()
    assert 0 < error.max() <= sigma * 2**-8 * output.abs().max()


def test_a_jump_does_not_lower_the_order_of_the_reference():
    """Gaussian data whose S changes at 0.7. On it, x is proportional to sqrt(S^2 + sigma^2)."""

    def denoise(x, sigma):
        variance = (0.3 if sigma > 0.7 else 1.5) ** 2
        return variance / (variance + sigma**2) * x

    expected = math.sqrt((0.09 + 0.49) / (0.09 + 100) * 2.25 / (2.25 + 0.49))
    made = converge(denoise, torch.ones(1, 1), 10.0, tolerance=0.0, max_steps=400, breaks=[0.7])
    blind = converge(denoise, torch.ones(1, 1), 10.0, tolerance=0.0, max_steps=400)
    assert float(made.samples) == pytest.approx(expected, rel=1e-7)
    assert abs(float(blind.samples) / expected - 1) > 1e-4


@pytest.mark.parametrize("flow", [False, True])
def test_a_known_end_point_is_found(flow):
    """On a sphere the ODE moves along rays."""
    sigma = 1.0 if flow else 14.6
    what = problem("sphere-3")
    x = start("sphere-3", "flow" if flow else "eps", sigma, 2)
    basis = what.distribution._constants.at(torch.float64)["basis"]
    inside = x.flatten(1) @ basis
    expected = (8.0 * inside / inside.norm(dim=1, keepdim=True)) @ basis.T
    made = converge(lambda x, s: what.denoise(x, s, flow), x, sigma, tolerance=math.inf)
    assert rms(made.samples.flatten(1) - expected).max() < 1e-6


def test_line_art_ends_on_its_pictures():
    """The ODE ends on data without a width, exact to the last bit of the white paper."""
    what = problem("line-art")
    x = start("line-art", "eps", 3.0, 1)
    made = converge(lambda x, s: what.denoise(x, s), x, 3.0, tolerance=math.inf)
    assert (made.samples.abs() - 1).abs().max() < 1e-6
    assert (made.samples > 0.5).double().mean() > 0.6


@pytest.mark.parametrize(
    ("name", "deviation"),
    [("sphere-64", 1.0), ("sphere-3", 1.0), ("even-colour", 0.8), ("gratings", 0.7), ("grating", 0.0)],
)
def test_the_deviation_of_the_data(name, deviation):
    assert problem(name).distribution.deviation == pytest.approx(deviation)
