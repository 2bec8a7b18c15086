"""Which latents continue a run in this process, and how long what is known of it is kept."""

from __future__ import annotations

import gc
import random
import weakref
from types import ModuleType
from typing import Any

import pytest
import torch

from devtools.inprocess import load_pack, pack_module

load_pack()

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
from comfy_execution.graph import DynamicPrompt  # noqa: E402
from comfy_execution.progress import reset_progress_state  # noqa: E402
from comfy_execution.utils import CurrentNodeContext  # noqa: E402
from sampling import sigmas_for  # noqa: E402

continuing: ModuleType = pack_module("nodes.continuing")
samplers: ModuleType = pack_module("nodes.samplers")
demo: ModuleType = pack_module("nodes.demo.model")
erk: ModuleType = pack_module("erk")

STEPS, CUT, SIDE = 6, 3, 32
GRAPH = {
    "first": {"class_type": "KSampler", "inputs": {"seed": 1}},
    "second": {"class_type": "KSampler", "inputs": {"latent_image": ["first", 0]}},
    "decoded": {"class_type": "VAEDecode", "inputs": {"samples": ["first", 0]}},
    "encoded": {"class_type": "VAEEncode", "inputs": {"pixels": ["decoded", 0]}},
    "third": {"class_type": "KSampler", "inputs": {"latent_image": ["encoded", 0]}},
}
POSITIVE, NEGATIVE = demo.class_conditioning("arcs"), demo.class_conditioning("everything")


@pytest.fixture(autouse=True)
def nothing_kept():
    continuing._kept.clear()
    yield
    continuing._kept.clear()


class StoppedError(Exception):
    """Raised instead of a run of which only the beginning is looked at."""


def in_node(name: str, item: int | None = None, prompt: str = "prompt", graph: Any = None) -> CurrentNodeContext:
    reset_progress_state(prompt, DynamicPrompt(graph or GRAPH))
    return CurrentNodeContext(prompt, name, item)


def sample(model, sigmas, latent, noise=None, sampler="erk_abm", options=None, cfg=3.0, positive=POSITIVE, mask=None):
    return comfy.sample.sample_custom(
        model, torch.zeros_like(latent) if noise is None else noise, cfg,
        comfy.samplers.ksampler(sampler, options or {}), sigmas, positive, NEGATIVE, latent, noise_mask=mask,
        disable_pbar=True, seed=1,
    )  # fmt: skip


def first_half(model, levels, side=SIDE, **how):
    noise = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(1))
    return sample(model, levels[: CUT + 1], torch.zeros_like(noise), noise, **how)


@pytest.fixture
def continued(monkeypatch):
    """Whether a run continues another: None, "same" or "other" (model). It is stopped before its first call."""

    def look(*args, **how):
        known = []
        integrate = erk.integrate

        def begin(*_, earlier, **__):
            known.append(earlier)
            raise StoppedError

        kept = list(continuing._kept)
        monkeypatch.setattr(samplers.erk, "integrate", begin)
        with pytest.raises(StoppedError):
            sample(*args, **how)
        monkeypatch.setattr(samplers.erk, "integrate", integrate)
        continuing._kept[:] = kept  # as if this run had not begun
        (earlier,) = known
        return None if earlier is None else "same" if earlier.same_model else "other"

    return look


def changed(latent: torch.Tensor, dice: random.Random) -> tuple[str, torch.Tensor]:
    """The latent as it is after something has been done to it, however little."""
    generator = torch.Generator().manual_seed(dice.randrange(2**31))
    scale, amount = latent.abs().max(), 10 ** dice.uniform(-5, 0)
    somewhere = tuple(dice.randrange(n) for n in latent.shape)

    def one_number():
        new = latent.clone()
        new[somewhere] += dice.choice((-1, 1)) * amount * scale
        return new

    def resized():
        size = dice.choice((SIDE // 2, SIDE + 8, SIDE * 2))
        return torch.nn.functional.interpolate(latent, size=(size, size), mode="bilinear")

    def there_and_back():
        small = torch.nn.functional.interpolate(latent, size=(SIDE // 2, SIDE // 2), mode="area")
        return torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")

    ways = {
        "one number": one_number,
        "scaled": lambda: latent * (1 + dice.choice((-1, 1)) * amount),
        "shifted": lambda: latent + amount * scale,
        "noise": lambda: latent + amount * scale * torch.randn(latent.shape, generator=generator),
        "resized": resized,
        "resized there and back": there_and_back,
        "rolled": lambda: latent.roll(dice.randrange(1, SIDE), dims=dice.choice((2, 3))),
        "flipped": lambda: latent.flip(dice.choice((2, 3))),
        "one sample": lambda: latent[dice.choice((0, 1)) :][:1],
        "repeated": lambda: latent.repeat(dice.randrange(2, 4), 1, 1, 1),
        "in another order": lambda: latent.flip(0),
        "encoded again": lambda: 2 * (((latent + 1) / 2).clamp(0, 1) * 255).round() / 255 - 1,
        "half precision": lambda: latent.half().float(),
        "blended": lambda: latent.lerp(latent.roll(1, 0), amount),
        "a part replaced": lambda: torch.cat([latent[..., :-1], latent[..., :1]], -1),
        "not finite": lambda: latent.index_fill(3, torch.tensor(somewhere[3]), float("nan")),
        "another run's": lambda: torch.randn(latent.shape, generator=generator) * latent.std(),
    }
    name = dice.choice(list(ways))
    return name, ways[name]()


@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
@pytest.mark.parametrize("solver", erk.SOLVERS)
@pytest.mark.parametrize("mode", erk.MODES)
def test_two_runs_are_one(kind, solver, mode):
    model = demo.build_demo_model(kind)
    levels = sigmas_for(model, STEPS)
    noise = torch.randn((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    strengths = {"w_stiff": 0.75, "w_con": 0.1} if mode == "paper" else {}
    how = {"sampler": f"erk_{solver}", "options": {"mode": mode, **strengths}}
    whole = sample(model, levels, torch.zeros_like(noise), noise, **how)
    end = sample(model, levels[CUT:], first_half(model, levels, **how), **how)
    assert (end - whole).abs().max() <= 1e-5 * whole.square().mean().sqrt()


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_a_thousand_latents(kind, continued):
    """500 for each kind of model: what was done to, none continues; each tenth is untouched, and continues."""
    model, dice = demo.build_demo_model(kind), random.Random(7)
    levels = sigmas_for(model, STEPS)
    latent = first_half(model, levels)
    seen = set()
    for number in range(500):
        if number % 10 == 0:
            assert continued(model, levels[CUT:], latent.clone()) == "same"
        name, other = changed(latent, dice)
        seen.add(name)
        assert continued(model, levels[CUT:], other) is None, f"{number}: {name}"
    assert len(seen) == 17


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_other_runs_of_the_same_latent(kind, continued):
    """Another level, new noise, another sampler, its options, a mask."""
    model = demo.build_demo_model(kind)
    levels = sigmas_for(model, STEPS)
    latent = first_half(model, levels)
    rest, noise = levels[CUT:], torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    assert continued(model, rest, latent) == "same"
    assert continued(model, rest, latent, noise) is None
    assert continued(model, levels[CUT + 1 :], latent) is None
    assert continued(model, levels[: CUT + 1].flip(0), latent) is None, "it goes back"
    assert continued(model, rest, latent, sampler="erk_deis") is None
    for options in ({"mode": "off"}, {"max_order": 4}, {"mode": "paper", "w_stiff": 1.0}):
        assert continued(model, rest, latent, options=options) is None
    assert continued(model, rest, latent, mask=torch.ones(1, 1, SIDE, SIDE)) is None


def test_which_model_is_the_same(continued):
    """A copy is. Another one, its patches, the strength of CFG or another prompt must prove that they agree."""
    model = demo.build_demo_model("eps")
    levels = sigmas_for(model, STEPS)
    rest, latent = levels[CUT:], first_half(model, levels)
    assert continued(model.clone(), rest, latent) == "same"
    assert continued(model, rest, latent, cfg=3.5) == "other"
    assert continued(model, rest, latent, positive=demo.class_conditioning("beads")) == "other"
    assert continued(demo.build_demo_model("eps"), rest, latent) == "other"
    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(lambda given: given["denoised"])
    assert continued(patched, rest, latent) == "other"
    weights = model.clone()
    weights.add_patches({next(iter(weights.model_state_dict())): (torch.zeros(1),)})
    assert continued(weights, rest, latent) == "other"


def test_only_the_node_that_takes_the_latent(continued):
    """Not one behind an encoder, one for another item of a list, or one outside of the graph."""
    model = demo.build_demo_model("eps")
    levels = sigmas_for(model, STEPS)
    with in_node("first"):
        latent = first_half(model, levels)
    here = (model, levels[CUT:], latent)
    for name, item, prompt, expected in (
        ("second", None, "prompt", "same"),
        ("second", None, "a later one", "same"),
        ("first", None, "prompt", "same"),  # a node that samples twice
        ("first", None, "a later one", None),
        ("second", 1, "prompt", None),
        ("third", None, "prompt", None),
    ):
        with in_node(name, item, prompt):
            assert continued(*here) == expected, (name, item, prompt)
    assert continued(*here) is None


class TestKept:
    """What is known of a run: how long, where, and how much of it."""

    @staticmethod
    def tensors() -> list[weakref.ref[torch.Tensor]]:
        kept = [one.continuation for one in continuing._kept]
        return [weakref.ref(tensor) for one in kept for tensor in (one.x, *(point.d for point in one.points))]

    def test_outside_of_a_server_until_the_next_run(self):
        model = demo.build_demo_model("eps")
        levels = sigmas_for(model, STEPS)
        for whole in (False, True):
            latent = first_half(model, levels)
            held = self.tensors()
            assert len(continuing._kept) == 1 and all(one() is not None for one in held)
            sample(model, levels if whole else levels[CUT:], latent)
            gc.collect()
            assert not continuing._kept and not any(one() is not None for one in held)

    def test_not_of_a_run_to_0_or_one_that_was_interrupted(self):
        model = demo.build_demo_model("eps")
        levels = sigmas_for(model, STEPS)
        sample(model, levels, torch.randn(1, 3, SIDE, SIDE) * levels[0])
        assert not continuing._kept

        def interrupt(given):
            raise KeyboardInterrupt

        stopped = model.clone()
        stopped.set_model_sampler_post_cfg_function(interrupt)
        with pytest.raises(KeyboardInterrupt):
            first_half(stopped, levels)
        assert not continuing._kept

    def test_in_a_server_while_the_node_is_in_the_graph(self):
        """The cache may hand out its latent again: then the second part must be what it was."""
        model = demo.build_demo_model("eps")
        levels = sigmas_for(model, STEPS)
        with in_node("first"):
            latent = first_half(model, levels)
        ends = []
        for prompt in ("prompt", "again"):
            with in_node("second", prompt=prompt):
                ends.append(sample(model, levels[CUT:], latent))
        assert torch.equal(*ends) and len(continuing._kept) == 1
        held = self.tensors()
        other = {**GRAPH, "first": {"class_type": "KSampler", "inputs": {"seed": 2}}}
        with in_node("first", graph=other):
            first_half(model, levels)
        gc.collect()
        assert len(continuing._kept) == 1 and not any(one() is not None for one in held)

    def test_as_long_as_the_model(self):
        model = demo.build_demo_model("eps")
        first_half(model, sigmas_for(model, STEPS))
        assert continuing._kept
        del model
        comfy.model_management.cleanup_models_gc()
        comfy.model_management.unload_all_models()
        gc.collect()
        assert not continuing._kept

    def test_nine_latents_and_half_a_gigabyte_together_at_most(self, monkeypatch):
        """Nine for abm of order 3 in mode calibrated, and some thousand numbers of a few more."""
        model = demo.build_demo_model("eps")
        levels, sizes = sigmas_for(model, STEPS), []
        graph = {str(number): {"class_type": "KSampler", "inputs": {}} for number in range(5)}
        for number, solver in enumerate(("abm", "deis", "heun", "euler", "dpm_2")):
            with in_node(str(number), graph=graph):
                latent = first_half(model, levels, side=128, sampler=f"erk_{solver}")
            sizes.append(continuing._kept[-1].continuation.bytes / latent.nbytes)
        assert 9 < sizes[0] < 9.5 and max(sizes[1:]) < 8.5 and len(continuing._kept) == 5, sizes
        monkeypatch.setattr(continuing, "AT_MOST", 1)
        with in_node("0", graph=graph):
            first_half(model, levels)
        assert len(continuing._kept) == 1, "the newest stays"

    def test_in_the_host_s_memory(self):
        model = demo.build_demo_model("eps")
        first_half(model, sigmas_for(model, STEPS))
        (kept,) = continuing._kept
        moved = kept.continuation.to("meta")
        assert kept.continuation.x.device.type == "cpu" and moved.memory.past.eps.device.type == "meta"
        assert {point.d.device.type for point in moved.points} == {"meta"}
