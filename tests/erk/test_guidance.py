"""The paper's rule: computed by hand, compared with an independent transcription, and its invariances."""

from __future__ import annotations

import math

import pytest
import torch
import transcription
from problems import PROCESSES, bent, run, schedule, spoiled, start
from torch.utils._python_dispatch import TorchDispatchMode

import erk
from erk.solvers.deis import adams_bashforth_vp

BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
SOLVERS = pytest.mark.parametrize("name", erk.SOLVERS)


def growth(x, sigma):
    """Denoiser whose drift is d = x at every noise level."""
    return x - sigma.view(-1, *(1,) * (x.ndim - 1)) * x


def test_heun_by_hand():
    """d = x, sigma 3 -> 2 -> 1 -> 0.5, x = 1, w_stiff 0.5, w_con 0; every number worked out on paper.

    Step 0: predictor 1 - 1*1 = 0, its drift 0; x = 1 - 1*(1 + 0)/2 = 0.5. No pair yet.
    Step 1: pair (0.5, 0.5) and (0, 0): stiffness 1, h 1, z 0.5; unguided 0.5 - (0.5 + 0)/2 = 0.25;
            correction -1 * 0.25 * 0.5 = -0.125; x = 0.125.
    Step 2: pair (0.125, 0.125) and (0, 0): stiffness 1, h 0.5, z 0.25; unguided 0.125 - 0.5*(0.125 + 0.0625)/2
            = 0.078125; correction -0.5 * 0.0625 * 0.125 = -0.00390625; x = 0.07421875.
    """
    trace = erk.Trace()
    x = run(
        growth,
        torch.ones(1, 1),
        torch.tensor([3.0, 2.0, 1.0, 0.5]),
        "heun",
        erk.SIGMA_SPACE,
        w_stiff=0.5,
        w_con=0.0,
        trace=trace,
    )
    assert x.item() == pytest.approx(0.07421875, rel=1e-6)
    assert [step.active for step in trace.steps] == [[False], [True], [True]]
    assert math.isnan(trace.steps[0].stiffness[0])
    assert [step.stiffness[0] for step in trace.steps[1:]] == pytest.approx([1.0, 1.0], rel=1e-6)
    assert [step.h_stiffness[0] for step in trace.steps[1:]] == pytest.approx([1.0, 0.5], rel=1e-6)
    # |correction| / |unguided step|: 0.125 / 0.25 and 0.00390625 / 0.046875
    assert [step.correction[0] for step in trace.steps] == pytest.approx([0.0, 0.5, 1 / 12], rel=1e-5)


def test_dpm_2_by_hand():
    """d = x, sigma 4 -> 1, x = 1: midpoint sigma 2, x_mid = 1 - 2 = -1, d_mid = -1; unguided 1 + 3 = 4.

    Pair (1, 1) and (-1, -1): stiffness 1, h 3, w_stiff 1/3: z 1; correction -3 * 1 * 1 = -3.
    """
    x = run(growth, torch.ones(1, 1), torch.tensor([4.0, 1.0]), "dpm_2", erk.SIGMA_SPACE, w_stiff=1 / 3, w_con=0.0)
    assert x.item() == pytest.approx(1.0, rel=1e-5)


def test_deis_correction_has_the_other_sign_and_the_previous_interval():
    """d = x, sigma 3 -> 2.5 -> 2: the pair spans 3 -> 2.5, so h is 0.5, and the sign is +1."""
    sigmas = torch.tensor([3.0, 2.5, 2.0])
    off = run(growth, torch.ones(1, 1), sigmas, "deis", erk.SIGMA_SPACE, "off", max_order=2)
    on = run(growth, torch.ones(1, 1), sigmas, "deis", erk.SIGMA_SPACE, w_stiff=2.0, w_con=0.0, max_order=2)
    # x_1 = 0.5, stiffness 1, z = 2 * 0.5 * 1 = 1: + 0.5 * 1 * 0.5
    assert (on - off).item() == pytest.approx(0.25, rel=1e-5)


def test_euler_by_hand():
    """d = x, sigma 3 -> 2.5 -> 2 -> 0, x = 1, w_stiff 1, w_con 0; every number worked out on paper.

    Step 0: 1 - 0.5*1 = 0.5. No pair yet.
    Step 1: pair (0.5, 0.5) and (1, 1): stiffness 1, h 0.5, z 0.5; unguided 0.5 - 0.5*0.5 = 0.25;
            correction +0.5 * 0.25 * 0.5 = 0.0625; x = 0.3125.
    Step 2: pair (0.3125, 0.3125) and (0.5, 0.5), measured; to 0, so not corrected: 0.3125 - 2*0.3125 = -0.3125.
    """
    trace = erk.Trace()
    sigmas = torch.tensor([3.0, 2.5, 2.0, 0.0])
    x = run(growth, torch.ones(1, 1), sigmas, "euler", erk.SIGMA_SPACE, w_stiff=1.0, w_con=0.0, trace=trace)
    assert x.item() == pytest.approx(-0.3125, rel=1e-5)
    assert [step.active for step in trace.steps] == [[False], [True], [False]]
    assert [step.h_stiffness[0] for step in trace.steps[1:]] == pytest.approx([0.5, 0.5], rel=1e-5)


@BOTH
@pytest.mark.parametrize("name", transcription.SOLVERS)
@pytest.mark.parametrize(("w_stiff", "w_con"), [(0.5, 0.0), (1.5, 0.4)])
def test_equals_an_independent_transcription(name, process, w_stiff, w_con):
    x, sigmas = start((3, 2, 6), process), schedule(process, 12)
    expected = transcription.sample(
        bent, x, sigmas.tolist(), name, process.is_flow, w_stiff, w_con, order=3, weights=adams_bashforth_vp
    )
    trace = erk.Trace()
    result = run(bent, x, sigmas, name, process, w_stiff=w_stiff, w_con=w_con, trace=trace)
    assert torch.allclose(result.double(), expected, rtol=2e-4, atol=2e-4)
    off = run(bent, x, sigmas, name, process, "off")
    assert (result - off).abs().max() > 100 * (result.double() - expected).abs().max(), (
        "the correction must be what is compared"
    )
    assert any(any(step.active) for step in trace.steps)


@BOTH
@SOLVERS
def test_zero_strength_and_an_unreachable_threshold_are_off(name, process):
    x, sigmas = start((2, 3, 5), process), schedule(process, 8)
    off = run(bent, x, sigmas, name, process, "off")
    assert torch.equal(run(bent, x, sigmas, name, process, w_stiff=0.0, w_con=0.0), off)
    assert torch.equal(run(bent, x, sigmas, name, process, w_stiff=1.0, w_con=1e9), off)
    assert not torch.equal(run(bent, x, sigmas, name, process, w_stiff=1.0, w_con=0.0), off)


@BOTH
@SOLVERS
def test_first_guided_step_and_last_step(name, process):
    trace = erk.Trace()
    run(bent, start((1, 3, 5), process), schedule(process, 6), name, process, w_stiff=1.0, w_con=0.0, trace=trace)
    active = [step.active[0] for step in trace.steps]
    first = int(erk.SOLVERS[name].pair_looks_back)
    assert active == [i >= first for i in range(5)] + [False]


@BOTH
@SOLVERS
def test_a_batch_of_two_is_two_batches_of_one(name, process):
    x, sigmas = start((2, 4, 8), process), schedule(process, 9)
    x[1] *= 0.01  # so that one sample would drown the other in a pooled norm
    both = run(bent, x, sigmas, name, process, w_stiff=1.0, w_con=0.3)
    for i in range(2):
        assert torch.allclose(
            both[i : i + 1],
            run(bent, x[i : i + 1], sigmas, name, process, w_stiff=1.0, w_con=0.3),
            rtol=1e-5,
            atol=1e-6,
        )


@BOTH
@SOLVERS
@pytest.mark.parametrize(
    "shape", [(2, 24, 8), (2, 3, 8, 8), (2, 3, 2, 4, 8), (2, 1, 192)], ids=["rank3", "rank4", "rank5", "packed"]
)
def test_any_rank_gives_the_same_numbers(name, process, shape):
    def pointwise(x, sigma):
        return torch.tanh(2 * x / (1 + sigma.view(-1, *(1,) * (x.ndim - 1))))

    x, sigmas = start((2, 192), process), schedule(process, 8)
    flat = run(pointwise, x, sigmas, name, process, w_stiff=1.0, w_con=0.0)
    shaped = run(pointwise, x.view(shape), sigmas, name, process, w_stiff=1.0, w_con=0.0)
    assert shaped.shape == shape
    assert torch.allclose(shaped.flatten(1), flat, rtol=1e-5, atol=1e-6)


@BOTH
@SOLVERS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.03), (torch.bfloat16, 0.25)], ids=["fp16", "bf16"])
def test_half_precision_latents(name, process, dtype, tolerance):
    x, sigmas = start((2, 4, 16, 16), process), schedule(process, 10)
    single = run(bent, x, sigmas, name, process, w_stiff=0.75, w_con=0.3)
    half = run(bent, x.to(dtype), sigmas, name, process, w_stiff=0.75, w_con=0.3)
    assert half.dtype == dtype
    assert torch.isfinite(half).all()
    assert (half.float() - single).norm() < tolerance * single.norm()


def test_float16_differences_do_not_overflow():
    """|delta_d|^2 exceeds float16's largest number; stiffness must not."""
    trace = erk.Trace()
    x = torch.full((1, 4096), 200.0, dtype=torch.float16)
    run(growth, x, torch.tensor([3.0, 2.0, 1.0]), "heun", erk.SIGMA_SPACE, w_stiff=0.1, w_con=0.0, trace=trace)
    assert trace.steps[1].stiffness[0] == pytest.approx(1.0, rel=1e-2)


@SOLVERS
def test_zero_differences_divide_nothing_by_zero(name):
    x = torch.zeros(2, 3, 4)
    trace = erk.Trace()
    result = run(lambda x, sigma: x, x, schedule(erk.SIGMA_SPACE, 6), name, erk.SIGMA_SPACE, trace=trace)
    assert torch.equal(result, x)
    assert all(value == 0 for step in trace.steps for value in step.stiffness if not math.isnan(value))


@BOTH
@SOLVERS
def test_a_bad_sample_leaves_its_neighbours_alone(name, process):
    x, sigmas = start((3, 2, 6), process), schedule(process, 8)
    result = run(spoiled(bent, float(sigmas[3]), batch=3), x, sigmas, name, process, w_stiff=1.0, w_con=0.0)
    alone = run(bent, x[[0, 2]], sigmas, name, process, w_stiff=1.0, w_con=0.0)
    assert torch.allclose(result[[0, 2]], alone, rtol=1e-5, atol=1e-6)
    assert torch.isnan(result[1]).any(), "the result shows it"


@pytest.mark.parametrize("steps", [8, 16, 32])
def test_presets_are_the_papers(steps):
    assert erk.paper_preset(steps) == {8: (0.5, 0.1), 16: (0.75, 0.3), 32: (2.0, 0.5)}[steps]


def test_presets_between_and_outside():
    w_stiff, w_con = erk.paper_preset(11)
    assert 0.5 < w_stiff < 0.75 and 0.1 < w_con < 0.3
    assert erk.paper_preset(1) == erk.paper_preset(8)
    assert erk.paper_preset(1000) == erk.paper_preset(32)
    strengths = [erk.paper_preset(n) for n in range(1, 65)]
    assert strengths == sorted(strengths)


class _HostReads(TorchDispatchMode):
    """Counts operations that copy a value to the host, and norms."""

    def __init__(self):
        super().__init__()
        self.reads, self.norms, self.sums = 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        self.reads += any(part in name for part in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default"))
        self.norms += "vector_norm" in name
        self.sums += "aten.sum" in name
        return func(*args, **(kwargs or {}))


@BOTH
@SOLVERS
@pytest.mark.parametrize("mode", erk.MODES)
@pytest.mark.parametrize("traced", [False, True], ids=["untraced", "traced"])
def test_a_step_reads_nothing_back_to_the_host(name, process, mode, traced):
    x, sigmas = start((2, 3, 4), process), schedule(process, 6)
    with _HostReads() as watch:
        run(bent, x, sigmas, name, process, mode, trace=erk.Trace() if traced else None)
    assert watch.reads == 0
    if (
        mode == "off" and not traced and not erk.make_solver(name, process).corrects
    ):  # abm's corrector has a bound of its own
        assert watch.norms == watch.sums == 0, "nobody asked, so nothing is measured"
    else:
        assert watch.norms > 0


@BOTH
@pytest.mark.parametrize("name", (*erk.SOLVERS, *erk.NOISY))
@pytest.mark.parametrize("mode", ["off", "calibrated"])
def test_a_run_stays_on_the_latents_device(name, process, mode):
    """Also where new tensors go to another device by default, as after torch.set_default_device."""
    # No other test has this schedule, so that nothing is known of it yet.
    x, sigmas = start((2, 3, 9, 7), process), schedule(process, 11)
    noise = [torch.randn(x.shape, generator=torch.Generator().manual_seed(i)) for i in range(len(sigmas))]
    with torch.device("meta"):
        made = run(bent, x, sigmas, name, process, mode, trace=erk.Trace(), draw=lambda i: noise[i])
    assert torch.equal(made, run(bent, x, sigmas, name, process, mode, draw=lambda i: noise[i]))
