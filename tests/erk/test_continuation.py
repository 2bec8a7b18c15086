"""A run in pieces: what one hands on, and what the next makes of it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from problems import PROCESSES, Counted, bent, gaussian, mixture, run, schedule, start

import erk
from erk.continuation import agrees, with_prediction

STEPS = 6
SHAPE = (2, 3, 8, 8)
ORDERS = [
    (name, order)
    for name, solver in erk.SOLVERS.items()
    for order in ((2, 3, 4) if issubclass(solver, erk.Multistep) else (None,))
]
IN_EVERY_WAY = pytest.mark.parametrize("mode", erk.MODES)
PROCESS = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
# The paper's presets depend on the number of steps, so a run and its pieces need the same strengths.
STRENGTHS = {"w_stiff": 0.75, "w_con": 0.1}


def in_pieces(model, x, sigmas, solver, process, mode, cuts, carried=True, **options):
    """The run, cut at these steps, with a trace for each piece where ``traces`` are given."""
    traces = options.pop("traces", [None] * (len(cuts) + 1))
    known = None
    for begin, end, trace in zip([0, *cuts], [*cuts, len(sigmas) - 1], traces, strict=True):
        kept = []
        given = {**STRENGTHS, **options, "earlier": known if carried else None, "trace": trace}
        x = run(model, x, sigmas[begin : end + 1], solver, process, mode, hand_on=kept.append, **given)
        (known,) = kept or [None]
    assert known is None, "a run to 0 hands nothing on"
    return x


def distance(one, other):
    return float((one.float() - other.float()).abs().max() / other.float().square().mean().sqrt())


@PROCESS
@IN_EVERY_WAY
@pytest.mark.parametrize(("solver", "order"), ORDERS)
def test_pieces_equal_one_run(solver, order, mode, process):
    """Cut at each place and at all of them, in float32 and bfloat16."""
    sigmas, model = schedule(process, STEPS), mixture(process, SHAPE[1:])
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.0)):
        x = start(SHAPE, process, dtype=dtype)
        whole = run(model, x, sigmas, solver, process, mode, max_order=order, **STRENGTHS)
        for cuts in (*([cut] for cut in range(1, STEPS)), list(range(1, STEPS))):
            pieces = in_pieces(model, x, sigmas, solver, process, mode, cuts, max_order=order)
            assert distance(pieces, whole) <= bound, f"{dtype}, cut at {cuts}"


@PROCESS
@IN_EVERY_WAY
@pytest.mark.parametrize("solver", [name for name, kind in erk.SOLVERS.items() if issubclass(kind, erk.Multistep)])
def test_without_it_they_do_not(solver, mode, process):
    sigmas, x = schedule(process, STEPS), start(SHAPE, process)
    whole = run(bent, x, sigmas, solver, process, mode, **STRENGTHS)
    assert distance(in_pieces(bent, x, sigmas, solver, process, mode, [3], carried=False), whole) > 1e-3


@PROCESS
@IN_EVERY_WAY
@pytest.mark.parametrize("solver", erk.SOLVERS)
def test_each_piece_has_its_trace(solver, mode, process):
    """Its steps were measured as in one run, whoever looked on before. What is seen changes nothing."""
    sigmas, x = schedule(process, STEPS), start(SHAPE, process)
    trace, traces = erk.Trace(), [erk.Trace(), erk.Trace()]
    whole = run(bent, x, sigmas, solver, process, mode, trace=trace, **STRENGTHS)
    for observed in ([*traces], [None, traces[1]], [traces[0], None]):
        pieces = in_pieces(bent, x, sigmas, solver, process, mode, [3], traces=observed)
        assert distance(pieces, whole) <= 1e-5
        if all(observed):
            found = [values for part in observed for step in part.steps for values in (step.stiffness, step.believed)]
            expected = [values for step in trace.steps for values in (step.stiffness, step.believed)]
            assert torch.allclose(torch.tensor(found), torch.tensor(expected), rtol=1e-5, equal_nan=True)
    assert [step.index for step in traces[0].steps] == [0, 1, 2]


@IN_EVERY_WAY
@pytest.mark.parametrize("solver", ["heun", "deis", "abm"])
def test_a_level_repeated_at_the_cut(solver, mode):
    sigmas = schedule(erk.FLOW, STEPS)
    x, twice = start(SHAPE, erk.FLOW), torch.cat([sigmas[:4], sigmas[3:]])
    whole = run(bent, x, twice, solver, erk.FLOW, mode, **STRENGTHS)
    for cuts in ([3], [4]):
        pieces = in_pieces(bent, x, twice, solver, erk.FLOW, mode, cuts)
        assert distance(pieces, whole) <= 1e-5, cuts


@PROCESS
@pytest.mark.parametrize("solver", erk.NOISY)
@pytest.mark.parametrize("mode", ["calibrated", "off"])
def test_solvers_that_add_noise(solver, mode, process):
    """With the same noise."""
    sigmas, x = schedule(process, STEPS), start(SHAPE, process)
    noise = torch.randn((STEPS, *SHAPE), generator=torch.Generator().manual_seed(9))
    whole = run(bent, x, sigmas, solver, process, mode, draw=lambda i: noise[i])
    kept = []
    middle = run(bent, x, sigmas[:4], solver, process, mode, draw=lambda i: noise[i], hand_on=kept.append)
    end = run(bent, middle, sigmas[3:], solver, process, mode, draw=lambda i: noise[3 + i], earlier=kept[0])
    assert distance(end, whole) <= 1e-5


def test_a_region_goes_on_in_itself():
    sigmas, x = schedule(erk.FLOW, STEPS), start(SHAPE, erk.FLOW)
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    whole = run(bent, x, sigmas, "abm", erk.FLOW, "calibrated", region=region)
    pieces = in_pieces(bent, x, sigmas, "abm", erk.FLOW, "calibrated", [3], region=region)
    assert distance(pieces, whole) <= 1e-5


def handed_on(model=bent, solver="abm", mode="calibrated", process=erk.FLOW, cut=3, x=None):
    kept = []
    x = start(SHAPE, process) if x is None else x
    middle = run(model, x, schedule(process, STEPS)[: cut + 1], solver, process, mode, hand_on=kept.append)
    return middle, kept[0]


def test_it_may_be_used_again():
    middle, earlier = handed_on()
    rest = schedule(erk.FLOW, STEPS)[3:]
    ends = [run(bent, middle, rest, "abm", erk.FLOW, "calibrated", earlier=earlier) for _ in range(2)]
    assert torch.equal(*ends)
    middle.zero_()
    assert earlier.x.abs().max() > 0, "what the caller does with the latent must not change the proof"


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given | {"solver": "deis"},
        lambda given: given | {"mode": "off"},
        lambda given: given | {"max_order": 4},
        lambda given: given | {"x": given["x"][:1]},
        lambda given: given | {"x": given["x"].double()},
        lambda given: given | {"sigmas": given["sigmas"] * 0.99},
        lambda given: given | {"sigmas": torch.cat([given["sigmas"][:1], torch.tensor([0.9])])},
        lambda given: given | {"region": torch.ones(1, 1, 8, 8)},
    ],
    ids=["solver", "mode", "order", "batch", "dtype", "level", "direction", "region"],
)
def test_what_does_not_continue_is_refused(change):
    middle, earlier = handed_on()
    given = {"x": middle, "sigmas": schedule(erk.FLOW, STEPS)[3:], "solver": "abm", "mode": "calibrated"}
    given = change(given | {"max_order": None, "region": None})
    model = Counted(bent)
    x, sigmas, solver, mode = (given.pop(name) for name in ("x", "sigmas", "solver", "mode"))
    with pytest.raises(ValueError, match="ended at sigma .*: continue with the same options, or leave earlier out"):
        run(model, x, sigmas, solver, erk.FLOW, mode, earlier=earlier, **given)
    assert model.calls == 0


def test_nothing_is_handed_on_from_an_interrupted_run():
    kept = []

    def interrupted(x, sigma):
        if sigma[0] < 0.8:
            raise KeyboardInterrupt
        return bent(x, sigma)

    with pytest.raises(KeyboardInterrupt):
        handed = schedule(erk.FLOW, STEPS)[:5]
        run(interrupted, start(SHAPE, erk.FLOW), handed, "abm", erk.FLOW, "off", hand_on=kept.append)
    assert not kept


def test_a_run_lets_go_of_it():
    """What the run before knew is freed with it."""
    middle, earlier = handed_on()
    held = [weakref.ref(point.d) for point in earlier.points] + [weakref.ref(earlier.memory.claim.partial)]
    end = run(bent, middle, schedule(erk.FLOW, STEPS)[3:], "abm", erk.FLOW, "calibrated", earlier=earlier)
    assert earlier.bytes > 5 * end.nbytes and all(one() is not None for one in held)
    del earlier
    gc.collect()
    assert not any(one() is not None for one in held)


class TestAnotherModel:
    """It is followed by what is known where its first evaluation agrees."""

    @staticmethod
    def second_half(other, same_model, solver="abm", mode="calibrated", cut=6):
        process, steps, kept = erk.SIGMA_SPACE, 12, []
        sigmas, x = schedule(process, steps), start(SHAPE, process)
        middle = run(gaussian(process), x, sigmas[: cut + 1], solver, process, mode, hand_on=kept.append)
        earlier = replace(kept[0], same_model=same_model)
        model = Counted(other)
        anew = run(other, middle, sigmas[cut:], solver, process, mode)
        end = run(model, middle, sigmas[cut:], solver, process, mode, earlier=earlier)
        assert model.calls == steps - cut, "no call is made for the comparison"
        return end, anew, run(other, middle, sigmas[cut:], solver, process, mode, earlier=kept[0])

    @pytest.mark.parametrize("solver", ["deis", "abm"])
    @IN_EVERY_WAY
    def test_much_alike(self, solver, mode):
        end, anew, continued = self.second_half(gaussian(erk.SIGMA_SPACE, 0.71), False, solver, mode)
        assert torch.equal(end, continued) and not torch.equal(end, anew)

    @pytest.mark.parametrize("solver", ["deis", "abm"])
    @IN_EVERY_WAY
    def test_unlike(self, solver, mode):
        end, anew, continued = self.second_half(mixture(erk.SIGMA_SPACE, SHAPE[1:]), False, solver, mode)
        assert torch.equal(end, anew) and not torch.equal(end, continued)

    def test_one_level_tells_nothing(self):
        end, anew, _ = self.second_half(gaussian(erk.SIGMA_SPACE), False, cut=1)
        assert torch.equal(end, anew)

    @PROCESS
    def test_every_sample_must_agree(self, process):
        levels = (0.9, 0.8, 0.7) if process.is_flow else (3.0, 2.5, 2.1)
        points = []
        for sigma in levels:
            x = start(SHAPE, process)
            denoised = x * (1 - sigma**2 / (process.alpha(sigma) ** 2 + sigma**2))
            points.append(erk.Evaluation.at(x, sigma, denoised))
        seen = with_prediction(with_prediction((), points[0]), points[1])
        assert agrees(seen, points[2], process, None)
        d = points[2].d.clone()
        d[1] += 1
        spoiled = points[2]._replace(d=d)
        assert not agrees(seen, spoiled, process, None)
        region = torch.zeros(2, 1, 1, 1)
        region[0] = 1
        assert not agrees(seen, spoiled, process, region), "nothing sampled shows nothing"
