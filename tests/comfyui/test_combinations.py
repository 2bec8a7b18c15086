"""The benchmark of guidance combinations measures what it says."""

from __future__ import annotations

import statistics

import pytest
import torch

from bench.accuracy import reference
from bench.combinations import CSV, PROBLEMS, REPORT, Row, report
from bench.instruments.environment import sentence
from bench.instruments.guidance import COMBINATIONS, Guided
from bench.instruments.reference import rms
from bench.instruments.rows import read
from bench.instruments.stock import erk_samplers


@pytest.mark.parametrize("kind", ["eps", pytest.param("flow", marks=pytest.mark.long)])
def test_the_reference_through_the_guider_is_the_one_by_formula(kind):
    """CFG by ComfyUI's guider in float64 and the guided denoiser from its formula reach the same end point."""
    guided = Guided("digits-cfg-2", kind)
    start = float(guided.bench.sigmas("karras" if kind == "eps" else "simple", 8)[0])
    ours = guided.converge(COMBINATIONS["CFG 2"](guided), start)
    expected = reference("digits-cfg-2", kind, start)
    assert ours.samples.dtype == torch.float64
    assert float(rms(ours.samples - expected.samples).max()) < 1e-4


def test_each_guidance_is_its_own_ode():
    """No two of them give the same result, so none has been left out by mistake."""
    guided = Guided("mixture-cfg-2", "eps")
    sigmas = torch.tensor([5.0, 2.0, 1.0, 0.5])
    seen = {name: guided.sample(make(guided), "euler", sigmas)[0] for name, make in COMBINATIONS.items()}
    for name, samples in seen.items():
        assert torch.isfinite(samples).all(), name
        twins = [other for other in seen if other != name and torch.allclose(seen[other], samples, atol=1e-4)]
        assert not twins, f"{name} is the same as {twins}"


def test_the_committed_tables_come_from_the_committed_rows():
    measured = read(CSV, Row)
    assert {row.combination for row in measured} == set(COMBINATIONS)
    assert {row.problem for row in measured} == set(PROBLEMS)
    assert {row.sampler for row in measured} <= set(erk_samplers()), "a solver that is newer than them is missing"
    assert REPORT.read_text() == report(measured, sentence(CSV.with_suffix(".json")))


@pytest.mark.parametrize("sampler", sorted({row.sampler for row in read(CSV, Row)}))
@pytest.mark.parametrize("combination", ["CFG 1", "CFG 2", "CFG 4", "CFG 7.5", "Autoguidance 2", "Autoguidance 3"])
def test_calibrated_also_helps_with_cfg_and_autoguidance(combination, sampler):
    """The committed rows show what README.md says: the error falls with each of them and every solver."""
    rows = [row for row in read(CSV, Row) if (row.combination, row.sampler) == (combination, sampler)]
    off = {(row.problem, row.kind, row.budget): row.mean for row in rows if row.mode == "off"}
    ratios = [row.mean / off[row.problem, row.kind, row.budget] for row in rows if row.mode == "calibrated"]
    assert len(ratios) == len(off) == 8
    assert statistics.geometric_mean(ratios) < 0.6
    assert max(ratios) < 1.1, "no cell gets worse by a tenth"
