"""The benchmark of abm's mechanisms switches off what it says, restores it, and divides the right rows."""

from __future__ import annotations

import pytest
import torch

from bench.ablation import replaced
from bench.abm import PEER, Row, report, uneven, variants
from bench.accuracy import Cell
from bench.instruments import environment, rows
from bench.instruments.comfy_model import Bench
from bench.instruments.environment import RESULTS
from bench.instruments.problems import problem


@pytest.fixture(scope="module")
def cells():
    """Guidance within an interval of levels, where D swings and bends, and strong guidance, where it collapses."""
    problems = [(problem(name), budget) for name, budget in (("digits-interval", 12), ("digits-cfg-7.5", 8))]
    return [Cell(what, Bench(what, "eps", what.noise()[:4]), "karras", budget) for what, budget in problems]


@pytest.mark.parametrize("mechanism", [name for name in variants() if name != "none"])
def test_each_mechanism_makes_a_difference(cells, mechanism):
    def errors():
        return torch.stack([cell.errors("erk_abm", "off") for cell in cells])

    before = errors()
    with replaced("erk.solvers", variants()[mechanism][1]):
        assert not torch.allclose(errors(), before, rtol=1e-3)
    assert torch.equal(errors(), before)


def test_uneven_steps_are_two_short_ones_before_a_long_one():
    levels = uneven(torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])).tolist()
    assert levels == pytest.approx([8.0, 4.0, 2.0, 1.94, 1.88, 1.0, 0.0])


def test_the_page_divides_by_the_solver_as_it_is():
    errors = {"none": 1.0, "steadiness": 2.0, PEER: 4.0}
    made = [
        Row(name, "CFG 5", "photographs 5", "eps", schedule, 8, error * times, 0.0)
        for name, error in errors.items()
        for schedule, times in (("karras", 1.0), ("beta", 1.0 if name == "none" else 0.5))
    ]
    lines = report(made, "").splitlines()
    assert [line.split("|")[2].strip() for line in lines if line.startswith("| **steadiness")] == ["1.41, 2.00", ""]
    assert [line.split("|")[2].strip() for line in lines if line.startswith(f"| **{PEER}")] == ["2.83, 4.00", ""]


def test_the_committed_page_comes_from_the_committed_rows():
    made = report(rows.need(RESULTS / "abm.csv", Row), environment.sentence(RESULTS / "abm.json"))
    assert made == (RESULTS / "ABM.md").read_text()
