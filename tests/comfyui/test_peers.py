"""The peers of the benchmark: orders of convergence, exact cases, model calls."""

from __future__ import annotations

import math

import pytest
import torch
from problems import gaussian, gaussian_std

import erk
from bench.instruments import peers
from bench.instruments.comfy_model import Bench
from bench.instruments.peers import PEERS, sample_cab2, sample_reab2, sample_stork2
from bench.instruments.problems import problem
from bench.instruments.stock import steps_within

CASES = [
    (name, flow) for name, peer in PEERS.items() for flow in (False, True) if ("flow" if flow else "eps") in peer.kinds
]


@pytest.fixture
def run(monkeypatch):
    """Run a sampler on a plain denoiser in float64."""

    def run(sampler, flow, denoise, x, levels):
        monkeypatch.setattr(peers, "_is_flow", lambda model: flow)
        return sampler(denoise, x, torch.tensor(levels, dtype=torch.float64))

    return run


@pytest.mark.parametrize("bend", [1.0, 1.7], ids=["even", "uneven"])
@pytest.mark.parametrize(("name", "flow"), CASES)
def test_order_two(run, name, flow, bend):
    process = erk.FLOW if flow else erk.SIGMA_SPACE
    start, end = (0.9, 0.2) if flow else (4.0, 0.3)
    errors = []
    for steps in (64, 128):
        levels = [start * (end / start) ** ((i / steps) ** bend) for i in range(steps + 1)]
        x = torch.full((1, 1), gaussian_std(process, start), dtype=torch.float64)
        result = run(PEERS[name].sample, flow, gaussian(process), x, levels).item()
        errors.append(abs(result / gaussian_std(process, end) - 1))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(("sampler", "flow"), [(sample_cab2, False), (sample_cab2, True), (sample_stork2, True)])
def test_a_constant_denoiser_is_reached(run, sampler, flow):
    """On linear problems steps are exact, including the last one to 0."""
    target = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)
    x = torch.randn((2, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = [1.0, 0.9, 0.6, 0.5, 0.2, 0.0] if flow else [9.0, 5.0, 2.0, 1.5, 0.3, 0.0]
    result = run(sampler, flow, lambda x, sigma: target.expand_as(x), x, levels)
    torch.testing.assert_close(result, target, atol=1e-12, rtol=0)


@pytest.mark.parametrize("flow", [False, True])
def test_reab_is_exact_for_unit_variance(run, flow):
    """Its exponential part is exact for data with deviation 1, to sigma 0 and from a flow model's start."""
    process = erk.FLOW if flow else erk.SIGMA_SPACE
    levels = [1.0, 0.7, 0.2, 0.0] if flow else [9.0, 2.0, 0.3, 0.0]
    x = torch.full((1, 1), gaussian_std(process, levels[0], 1.0), dtype=torch.float64)
    assert run(sample_reab2, flow, gaussian(process, 1.0), x, levels).item() == pytest.approx(1.0, abs=1e-12)


def test_gegenbauer_moments():
    """Second order needs a first moment of 1/2. With few or many stages, the second is near 1/4, not the exact 1/3."""
    for stages, second in ((10, 0.2383), (50, 0.2494)):
        assert peers._gegenbauer_moments(stages) == pytest.approx((0.5, second), abs=1e-4)


def test_integral_of_log_tan():
    angles = torch.linspace(1e-9, 1.2, 400_001, dtype=torch.float64)
    expected = torch.trapezoid(angles.tan().log(), angles).item()
    assert peers._integral_of_log_tan(1.2) == pytest.approx(expected, abs=1e-4)
    assert peers._integral_of_log_tan(0.0) == 0.0


@pytest.mark.parametrize(("name", "extra"), [("cab2", 0), ("reab2", 0), ("stork2", 1)])
def test_model_calls(name, extra):
    what = problem("spiral-0.10")
    bench = Bench(what, "flow", what.noise(2))
    samples, calls = bench.sample(PEERS[name].sample, bench.sigmas("simple", 9))
    assert calls == 9 + extra and samples.isfinite().all()
    assert steps_within(name, 12) == 12 - extra


def test_stork_is_for_flow_models():
    what = problem("spiral-0.10")
    bench = Bench(what, "eps", what.noise(2))
    with pytest.raises(ValueError, match="flow models only"):
        bench.sample(sample_stork2, bench.sigmas("karras", 5))
