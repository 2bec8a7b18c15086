"""A latent that packs several, such as a video and its sound: each part is corrected by itself."""

from __future__ import annotations

import math

import pytest
import torch
from problems import PROCESSES, schedule

import erk

VIDEO, SOUND = (2, 3, 4, 8, 6), (2, 4, 12, 5)
CUT = math.prod(VIDEO[1:])
BOTH = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
EACH = pytest.mark.parametrize("name", [*erk.SOLVERS, *erk.NOISY])


def apart(x, sigma):
    """A smooth nonlinear denoiser of each number by itself."""
    sigma = sigma.view(-1, *(1,) * (x.ndim - 1))
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * x) / (1 + sigma)


def pack(video, sound):
    return torch.cat([video.reshape(2, 1, -1), sound.reshape(2, 1, -1)], dim=-1)


def unpack(x):
    return x[..., :CUT].reshape(VIDEO), x[..., CUT:].reshape(SOUND)


def run(name, process, x, noise, parts=(), mode="calibrated", region=None, sigmas=None, **options):
    sigmas = schedule(process, 8) if sigmas is None else sigmas
    return erk.integrate(
        apart, x, sigmas, erk.make_solver(name, process), erk.make_guidance(mode, None, None, 8), process,
        draw=lambda i: noise[i], parts=parts, region=region, **options,
    )  # fmt: skip


def begin(process):
    """The noise of two latents, and for each step more of it."""
    generator = torch.Generator().manual_seed(4)
    first = float(schedule(process, 8)[0])
    made = [[torch.randn(shape, generator=generator) for shape in (VIDEO, SOUND)] for _ in range(9)]
    return [first * part for part in made[0]], made[1:]


@pytest.mark.parametrize("name", [name for name in (*erk.SOLVERS, *erk.NOISY) if name != "abm"])
@BOTH
def test_each_part_as_if_it_were_alone(name, process):
    """On a model that does not mix them; and one band for all is something else.

    Not with abm, which damps its own corrector by the size of the whole sample.
    """
    parts, noise = begin(process)
    packed = [pack(*one) for one in noise]
    together = unpack(run(name, process, pack(*parts), packed, (VIDEO, SOUND)))
    for k, part in enumerate(parts):
        assert torch.equal(together[k], run(name, process, part, [one[k] for one in noise]))
    assert not torch.equal(pack(*together), run(name, process, pack(*parts), packed))


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, mode) for name in erk.SOLVERS for mode in ("off", "paper")),
                       *((name, "off") for name in erk.NOISY)],
)  # fmt: skip
@BOTH
def test_other_modes_see_one_latent(name, process, mode):
    parts, noise = begin(process)
    packed = [pack(*one) for one in noise]
    results = [run(name, process, pack(*parts), packed, shapes, mode) for shapes in ((), (VIDEO, SOUND))]
    assert torch.equal(*results)


@EACH
@BOTH
def test_the_trace_has_one_value_for_both(name, process):
    parts, noise = begin(process)
    trace = erk.Trace()
    packed = [pack(*one) for one in noise]
    with_trace = run(name, process, pack(*parts), packed, (VIDEO, SOUND), trace=trace)
    assert torch.equal(with_trace, run(name, process, pack(*parts), packed, (VIDEO, SOUND)))
    alone = [erk.Trace(), erk.Trace()]
    for k, part in enumerate(parts):
        run(name, process, part, [one[k] for one in noise], trace=alone[k])
    assert len(trace.steps) == 8 and any(any(step.active) for step in trace.steps)
    shares = [CUT / 816, 1 - CUT / 816]
    for step, *own in zip(trace.steps, *(one.steps for one in alone), strict=True):
        assert all(map(math.isfinite, step.correction))
        if name == "abm":  # damps its corrector by the whole sample
            continue
        for quantity in ("valid", "believed"):
            both = [
                shares[0] * a + shares[1] * b for a, b in zip(*(getattr(one, quantity) for one in own), strict=True)
            ]
            assert getattr(step, quantity) == pytest.approx(both, rel=1e-4, nan_ok=True)
        assert step.active == [a or b for a, b in zip(*(one.active for one in own), strict=True)]


@BOTH
@pytest.mark.parametrize("name", ["deis", "heun", "euler_ancestral"])
def test_a_kept_part_stays(name, process):
    """A mask as ComfyUI packs it: the sound is kept."""
    parts, noise = begin(process)
    region = pack(torch.ones(VIDEO), torch.zeros(SOUND))
    packed = [pack(*one) for one in noise]
    video, sound = unpack(run(name, process, pack(*parts), packed, (VIDEO, SOUND), region=region))
    assert torch.equal(video, run(name, process, parts[0], [one[0] for one in noise]))
    plain = unpack(run(name, process, pack(*parts), packed, (VIDEO, SOUND), mode="off"))[1]
    assert torch.equal(sound, plain)


@EACH
@BOTH
def test_two_runs_equal_one(name, process):
    parts, noise = begin(process)
    packed, sigmas, kept = [pack(*one) for one in noise], schedule(process, 8), []
    whole = run(name, process, pack(*parts), packed, (VIDEO, SOUND))
    half = run(name, process, pack(*parts), packed, (VIDEO, SOUND), sigmas=sigmas[:5], hand_on=kept.append)
    rest = run(name, process, half, packed[4:], (VIDEO, SOUND), sigmas=sigmas[4:], earlier=kept[0])
    assert torch.equal(rest, whole)
    with pytest.raises(ValueError, match="its parts or its region differ"):
        run(name, process, half, packed[4:], sigmas=sigmas[4:], earlier=kept[0])


def test_shapes_that_do_not_fill_it_are_refused_before_any_call():
    def never(x, sigma):
        raise AssertionError("the model was called")

    process = PROCESSES[0]
    for parts in ([(2, 3, 4, 8, 6)], [(1, 3, 4, 8, 6), (1, 4, 12, 5)], [(2, 3, 4, 8, 6), (2, 4, 12, 6)]):
        with pytest.raises(ValueError, match=r"parts is .* but x is \[2, 1, 816\]"):
            erk.integrate(
                never, torch.zeros(2, 1, 816), schedule(process, 8), erk.make_solver("abm", process),
                erk.make_guidance("calibrated", None, None, 8), process, parts=parts,
            )  # fmt: skip
