"""Bad input gives one clear sentence before any model call. Unusual input gives what one would expect."""

from __future__ import annotations

import json
import math

import pytest
import torch
from problems import PROCESSES, Counted, bent, run, schedule, start

import erk

SOLVERS = pytest.mark.parametrize("name", erk.SOLVERS)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "magic"}, ValueError, ["magic", "calibrated", "paper", "off"]),
        ({"mode": None}, ValueError, ["None", "paper"]),
        ({"w_stiff": -0.1}, ValueError, ["w_stiff", "-0.1", "not negative"]),
        ({"w_stiff": math.inf}, ValueError, ["w_stiff", "inf", "finite"]),
        ({"w_stiff": math.nan, "mode": "off"}, ValueError, ["w_stiff", "nan"]),
        ({"w_con": -1}, ValueError, ["w_con", "-1"]),
        ({"w_con": math.nan}, ValueError, ["w_con", "nan"]),
        ({"w_con": "much"}, TypeError, ["w_con", "much", "number"]),
        ({"w_stiff": True}, TypeError, ["w_stiff", "True"]),
        ({"w_stif": 1.0}, TypeError, ["w_stif is not a setting", "w_stiff, w_con"]),
    ],
)
def test_guidance_options(options, error, words):
    options = {"mode": "paper", "w_stiff": None, "w_con": None, **options}
    with pytest.raises(error) as caught:
        erk.make_guidance(**options, steps=8)
    assert all(word in str(caught.value) for word in words)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("name", "order", "error"),
    [
        ("deis", 1, ValueError),
        ("abm", 5, ValueError),
        ("euler", 3, ValueError),
        ("deis", 5, ValueError),
        ("deis", 2.5, TypeError),
        ("deis", "3", TypeError),
        ("heun", 3, ValueError),
        ("rk45", None, ValueError),
    ],
)
def test_solver_options(name, order, error):
    with pytest.raises(error, match="ERK-Guid: (max_order|solver) is"):
        erk.make_solver(name, erk.SIGMA_SPACE, order)


def test_deis_weights_for_another_solver():
    with pytest.raises(ValueError, match="heun takes none: leave them out"):
        erk.make_solver("heun", erk.SIGMA_SPACE, coefficients=lambda sigmas, sigma_next: (1.0,))


@pytest.mark.parametrize("values", [[], [1.0]], ids=["none", "one"])
@SOLVERS
def test_no_step_leaves_the_latent(name, values):
    model, x, trace = Counted(bent), start((2, 3, 4), erk.SIGMA_SPACE), erk.Trace()
    assert torch.equal(run(model, x, torch.tensor(values), name, erk.SIGMA_SPACE, trace=trace), x)
    assert model.calls == 0
    assert trace.steps == []


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@SOLVERS
@pytest.mark.parametrize("mode", erk.MODES)
def test_a_repeated_level_is_a_step_of_length_zero(name, process, mode):
    sigmas = schedule(process, 8)
    doubled = torch.cat([sigmas[:4], sigmas[3:4], sigmas[4:], sigmas[-1:]])
    x = start((2, 3, 4), process)
    once = run(bent, x, sigmas, name, process, mode, w_stiff=1.0, w_con=0.0)
    assert torch.equal(run(bent, x, doubled, name, process, mode, w_stiff=1.0, w_con=0.0), once)


@pytest.mark.parametrize(
    ("sigmas", "words"),
    [
        ([[1.0, 0.5]], ["shape"]),
        ([1.0, math.nan, 0.0], ["nan"]),
        ([math.inf, 1.0], ["inf"]),
        ([1.0, -0.5], ["-0.5"]),
        ([0.0, 0.5, 1.0], ["sigma 0", "0.0001"]),
    ],
)
@SOLVERS
def test_schedules_no_solver_can_follow(name, sigmas, words):
    model = Counted(bent)
    with pytest.raises(ValueError) as caught:
        run(model, start((1, 2, 3), erk.SIGMA_SPACE), torch.tensor(sigmas), name, erk.SIGMA_SPACE)
    assert all(word in str(caught.value) for word in words)
    assert model.calls == 0


@SOLVERS
def test_ascending_levels_are_guided_too(name):
    x, up = start((1, 3, 5), erk.SIGMA_SPACE).clamp(-1, 1), torch.linspace(0.1, 4, 9)
    trace = erk.Trace()
    result = run(bent, x, up, name, erk.SIGMA_SPACE, w_stiff=1.0, w_con=0.0, trace=trace)
    assert torch.isfinite(result).all()
    assert any(step.active[0] for step in trace.steps)
    assert not torch.equal(result, run(bent, x, up, name, erk.SIGMA_SPACE, "off"))


def test_a_trace_holds_the_newest_run_only_and_is_json():
    trace, x = erk.Trace(), start((2, 3, 4), erk.SIGMA_SPACE)
    run(bent, x, schedule(erk.SIGMA_SPACE, 12), "heun", erk.SIGMA_SPACE, trace=trace)
    run(bent, x, schedule(erk.SIGMA_SPACE, 5), "deis", erk.SIGMA_SPACE, "off", trace=trace)
    data = json.loads(trace.to_json())
    assert data["run"] == {
        "solver": "deis", "mode": "off", "model": "sigma-space", **dict.fromkeys(erk.SETTINGS),
        "sigmas": pytest.approx(schedule(erk.SIGMA_SPACE, 5).tolist()),
    }  # fmt: skip
    assert {"w_stiff", "w_con"} <= data["run"].keys()
    assert [step["index"] for step in data["steps"]] == list(range(5))
    assert data["steps"][0]["stiffness"] == [None, None]
    assert all(value > 0 for step in data["steps"][1:] for value in step["stiffness"])
    assert not any(flag for step in data["steps"] for flag in step["active"])
    for step, sigma, sigma_next in zip(data["steps"], data["run"]["sigmas"], data["run"]["sigmas"][1:], strict=False):
        assert (step["sigma"], step["sigma_next"]) == (sigma, sigma_next)
