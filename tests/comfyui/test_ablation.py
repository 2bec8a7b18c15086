"""The ablation switches off what it says, and restores it."""

from __future__ import annotations

import pytest
import torch

from bench.ablation import Row, report, variants, without
from bench.accuracy import Cell
from bench.instruments.comfy_model import Bench
from bench.instruments.problems import problem
from devtools.inprocess import pack_module


@pytest.fixture(scope="module")
def cell():
    what = problem("digits-0.30")
    return Cell(what, Bench(what, "flow", what.noise()), "simple", 12)


# A cell of one small problem does not reach every bound.
@pytest.mark.parametrize(
    "mechanism", ["earned trust", "surprise", "the last step's own judgement", "spread", "chance", "expanding modes"]
)
def test_each_mechanism_makes_a_difference(cell, mechanism):
    before = cell.errors("erk_abm", "calibrated")
    with without(variants()[mechanism][1]):
        assert not torch.allclose(cell.errors("erk_abm", "calibrated"), before, rtol=1e-3)
    assert torch.equal(cell.errors("erk_abm", "calibrated"), before)


def test_names_are_put_back_after_an_error():
    rule = pack_module("erk.guidance.calibrated.rule")
    before = rule.STRAYED
    with pytest.raises(RuntimeError), without({"rule.STRAYED": 7.0}):
        assert rule.STRAYED == 7.0
        raise RuntimeError
    assert before == rule.STRAYED


def test_the_page_counts_what_got_worse():
    made = [
        Row(mechanism, "sphere-64", kind, "erk_heun", 8, 1.0, 2.0 if mechanism == "strayed runs" else 0.5, 1.0)
        for mechanism in variants()
        for kind in ("eps", "flow")
    ]
    lines = {
        line.split("**")[1]: line
        for line in report(made, "").splitlines()
        if line.startswith("| **") and "of 1" in line
    }
    assert lines["none"].count("0 of 1") == 2 and "| 0.50 |" in lines["none"]
    assert lines["strayed runs"].count("1 of 1") == 2 and "| 2.00 |" in lines["strayed runs"]
