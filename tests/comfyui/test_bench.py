"""The benchmark's quick variant: the rankings that hold with a wide margin."""

from __future__ import annotations

import statistics

import pytest
import torch

import erk
from bench import ablation
from bench.accuracy import Row, page, quick_ratios
from bench.instruments import environment, rows, tables
from bench.instruments.environment import RESULTS
from bench.instruments.problems import problem
from bench.overhead import LATENTS, measure


@pytest.fixture(scope="module")
def ratios():
    return quick_ratios()


def test_calibrated_beats_off_for_each_solver_and_kind(ratios):
    assert {sampler for sampler, _ in ratios} == {f"erk_{name}" for name in erk.SOLVERS}
    assert max(ratios.values()) < 0.85, ratios


@pytest.mark.parametrize(("kind", "bound"), [("eps", 0.70), ("flow", 0.55)])
def test_calibrated_beats_off_by_far_over_all_solvers(ratios, kind, bound):
    assert statistics.geometric_mean(ratio for (_, of), ratio in ratios.items() if of == kind) < bound


def test_the_committed_pages_come_from_the_committed_rows():
    record = {name: environment.sentence(RESULTS / f"{name}.json") for name in ("accuracy", "ablation")}
    made = tables.page(page.page(rows.need(RESULTS / "accuracy.csv", Row), record["accuracy"]))
    assert made == (RESULTS / "ACCURACY.md").read_text()
    made = ablation.report(rows.need(RESULTS / "ablation.csv", ablation.Row), record["ablation"])
    assert made == (RESULTS / "ABLATION.md").read_text()


def test_a_page_without_rows_says_what_makes_them(tmp_path):
    with pytest.raises(SystemExit, match=r"none\.csv has no rows: run the same command without --report"):
        rows.need(tmp_path / "none.csv", Row)
    record = tmp_path / "none.json"
    environment.record(record, "python -m bench.none", seen=0.25)
    assert environment.told(record, "seen") == 0.25
    with pytest.raises(SystemExit, match=r"none\.json does not have share"):
        environment.told(record, "share")


@pytest.mark.parametrize("flow", [False, True])
def test_a_denoiser_is_the_posterior_mean(flow):
    """Compared with the plain definition E[data | x]: samples of the data, weighted by how well they explain x."""
    from sklearn.datasets import load_digits

    generator = torch.Generator().manual_seed(0)
    images = torch.tensor(load_digits().data) / 8 - 1
    drawn = images[torch.randint(len(images), (300_000,), generator=generator)]
    data = drawn + 0.3 * torch.randn(drawn.shape, generator=generator, dtype=torch.float64)
    sigma = 0.75 if flow else 3.0
    alpha = 1 - sigma if flow else 1.0
    x = alpha * data[:1] + sigma * torch.randn((1, 64), generator=generator, dtype=torch.float64)
    weights = torch.softmax(-(x - alpha * data).square().sum(1) / (2 * sigma**2), 0)
    expected = weights @ data
    uncertain = ((weights**2) @ (data - expected) ** 2).sqrt()
    result = problem("digits-0.30").denoise(x.view(1, 1, 8, 8), sigma, flow).flatten()
    assert uncertain.max() < 0.05
    assert ((result - expected).abs() < 5 * uncertain + 1e-4).all()


class TestWhatAStepCosts:
    """What guidance keeps and launches in addition to ComfyUI's own sampler. It is counted, not timed.

    The bounds are the measured values, rounded up.
    """

    @pytest.mark.parametrize(
        ("solver", "most"),
        [
            ("heun", 4.5), ("dpm_2", 5.5), ("dpmpp_2s", 6.5), ("deis", 6.5), ("abm", 7.5), ("euler", 6.5),
            ("euler_ancestral", 6.5), ("dpmpp_2s_ancestral", 7.5),
        ],
    )  # fmt: skip
    def test_memory(self, solver, most):
        # abm is compared with deis, which remembers less; noise is kept until the step has been corrected
        off = {"abm": 4.0, "dpmpp_2s_ancestral": 1.0}.get(solver, 0.0)
        # ComfyUI's euler and deis keep no state, and the pair is a state and its drift
        paper = {"abm": 4.0, "deis": 1.0, "euler": 2.0}.get(solver, 0.0)
        bounds = {"off": off + 0.1, "paper": paper + 0.1, "calibrated": most}
        for row in measure(solver, torch.randn(1, *LATENTS["FLUX 1024"]), "FLUX 1024", "fp32", repeats=1):
            assert row.calls == row.stock_calls
            assert row.over_memory < bounds[row.mode], row

    @pytest.mark.parametrize(
        ("solver", "most"),
        [
            ("heun", 104), ("dpm_2", 106), ("dpmpp_2s", 107), ("deis", 97), ("abm", 139), ("euler", 96),
            ("euler_ancestral", 161), ("dpmpp_2s_ancestral", 133),
        ],
    )  # fmt: skip
    def test_kernels(self, solver, most):
        """For a latent that is processed in one piece."""
        *_, calibrated = measure(solver, torch.randn(1, *LATENTS["SDXL 1024"]), "SDXL 1024", "fp32", repeats=1)
        assert calibrated.mode == "calibrated" and 20 < calibrated.kernels < most
