"""Students of exact problems do what distillation promises. Other people's denoisers are called correctly.

The tables say what the rows hold.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from bench.distilled import prepare
from bench.instruments import comparison
from bench.instruments.problems import problem
from bench.instruments.reference import rms, solve
from bench.instruments.students import ConsistencyStudent, EulerStudent
from bench.neutral import Ideal

KINDS = [("eps", "sgm_uniform"), ("flow", "simple")]


@pytest.fixture(autouse=True)
def one_thread():
    """The arithmetic here is small, so threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("flow", "levels"), [(False, [14.6, 4.0, 1.5, 0.5, 0.0]), (True, [1.0, 0.9, 0.75, 0.5, 0.0])])
@pytest.mark.parametrize("name", ["spiral-0.10", "digits-cfg-4"])
def test_euler_steps_of_the_student_land_on_the_teachers_solution(name, flow, levels):
    what = problem(name)
    student = EulerStudent(what, flow, torch.tensor(levels))
    x = levels[0] * what.noise(2).double()
    exact = solve(lambda x, sigma: what.denoise(x, sigma, flow), x, levels[0], 200)
    plain = x

    def step(x, denoised, ratio):
        return denoised + ratio * (x - denoised)

    for sigma, sigma_next in itertools.pairwise(levels):
        x = step(x, student.predict(x, sigma, flow), sigma_next / sigma)
        plain = step(plain, what.denoise(plain, sigma, flow), sigma_next / sigma)
    assert rms(x - exact).max() < 1e-4
    assert rms(plain - exact).mean() > 0.02  # the teacher itself is far from there


def test_the_student_is_exact_for_comfyuis_euler():
    case = prepare(problem("spiral-0.10"), "flow", "simple", "Euler-exact", steps=4, samples=4)
    samples, calls = case.bench.sample("euler", case.levels(4))
    assert calls == 4
    assert rms(samples - case.reference.samples).max() < 1e-4


@pytest.mark.parametrize(("kind", "schedule"), KINDS)
def test_each_output_of_the_consistency_student_is_the_end_point(kind, schedule):
    case = prepare(problem("spiral-0.10"), kind, schedule, "consistency", steps=4, samples=4)
    first = case.levels(4)[:1]
    samples, _ = case.bench.sample("euler", torch.cat([first, torch.zeros(1)]))
    assert rms(samples - case.reference.samples).max() < 1e-4


def test_between_two_levels_the_output_is_that_of_the_upper_one():
    what = problem("spiral-0.10")
    student = EulerStudent(what, False, torch.tensor([10.0, 2.0, 0.5, 0.0]))
    x = 2.0 * what.noise(3).double()
    at_level = student.predict(x, 2.0, False)
    assert torch.equal(student.predict(x, 0.6, False), at_level)
    assert torch.equal(student.predict(x, torch.tensor([2.0 + 1e-6] * 3), False), at_level)
    assert not torch.allclose(student.predict(x, 0.5, False), at_level, atol=1e-3)
    # From the last level the step goes to the end point.
    assert rms(student.predict(x, 0.5, False) - ConsistencyStudent(what, False).predict(x, 0.5, False)).max() < 1e-12


def test_wrong_levels_for_a_student_are_refused():
    what = problem("spiral-0.10")
    with pytest.raises(ValueError, match="fall to 0"):
        EulerStudent(what, False, torch.tensor([1.0, 2.0, 0.0]))
    student = ConsistencyStudent(what, False)
    with pytest.raises(ValueError, match="all at one level"):
        student.predict(what.noise(2), torch.tensor([1.0, 2.0]), False)
    with pytest.raises(ValueError, match="of one kind"):
        student.predict(what.noise(2), 0.5, True)


@pytest.mark.parametrize("sigma", [1.0, 1 - 1e-4, 0.5, 0.01])
def test_an_ideal_denoiser_that_gives_noise_becomes_a_prediction_of_the_data(sigma):
    """With two points, D is their mean, weighted by how close they are."""
    points = torch.tensor([[-0.5, 0.2], [0.7, 0.4]], dtype=torch.float64)

    def noise(x, level):
        weights = torch.softmax(-(x[:, None] - points).square().sum(2) / 2 / level**2, 1)
        return (x - weights @ points) / level

    x = torch.tensor([[0.3, -0.2], [0.1, 0.9]], dtype=torch.float64)
    alpha = 1 - sigma
    weights = torch.softmax(-(x[:, None] - alpha * points).square().sum(2) / 2 / sigma**2, 1)
    result = Ideal(noise, points.mean(0)).predict(x.view(2, 1, 1, 2), sigma, flow=True)
    assert torch.allclose(result.view(2, 2), weights @ points, atol=1e-9)


class TestTheTables:
    @staticmethod
    def row(mode: str, mean: float, budget: int = 8) -> comparison.Row:
        return comparison.Row(
            "set", "eps", "karras", budget, "erk_abm", mode, 8, 8, mean, mean, mean, 0.5, math.nan, 4, 1.0, 1e-6, 0.1
        )

    def test_a_solved_cell_is_in_no_mean_but_is_reported(self):
        made = comparison.compare(
            [
                self.row("off", 0.2, 8), self.row("calibrated", 0.1, 8), self.row("off", 0.2, 16),
                self.row("calibrated", 0.4, 16),
                self.row("off", 1e-5, 24), self.row("calibrated", 1e-2, 24),
            ]
        )  # fmt: skip
        assert [c.judged for c in made] == [True, True, False]
        (line,) = [line for line in comparison.summary(made, lambda row: row.kind) if "erk_abm" in line]
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2:8] == ["1.00", "2.00", "1 of 2", "50 %", "1", "1.00 %"]

    def test_losses_are_all_listed(self):
        made = comparison.compare(
            [row for n in range(30) for row in (self.row("off", 0.2, n), self.row("calibrated", 0.211 + 0.01 * n, n))]
        )
        text = comparison.losses(made, lambda row: row.kind)
        assert text[0] == "## Cells in which calibrated has the larger error: 30 of 30, 29 above 1.1"
        assert sum(line.startswith("| set, eps,") for line in text) == 30
