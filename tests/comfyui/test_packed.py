"""Latents that ComfyUI packs, such as a video and its sound: the samplers are told the shapes, as the model is."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from bench import packed as bench_packed
from bench.instruments import data
from bench.instruments.comfy_model import Bench
from bench.instruments.distributions import KernelDensity
from bench.instruments.problem import Problem
from devtools.inprocess import pack_module

import comfy.nested_tensor  # isort: skip
import comfy.sample  # isort: skip
import comfy.samplers  # isort: skip
import comfy.sd  # isort: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """LTX-2's network, small."""
    what = tiny_models.architecture("ltxav")
    folder = tmp_path_factory.mktemp("models")
    return comfy.sd.load_diffusion_model(str(folder / "diffusion_models" / tiny_models.write(folder, what)))


def sampled(model, sampler, parts, mask=None):
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(3)) for shape in parts]
    text = torch.randn((1, 20, 96), generator=torch.Generator().manual_seed(1))
    conditioning = [[text, {"attention_mask": torch.ones((1, 20), dtype=torch.int64)}]]
    nested = [comfy.nested_tensor.NestedTensor(one) for one in (noise, [torch.zeros(shape) for shape in parts])]
    return comfy.sample.sample_custom(
        model, nested[0], 1.0, sampler, torch.linspace(1, 0, 9), conditioning, conditioning, nested[1],
        noise_mask=mask, disable_pbar=True, seed=0,
    ).unbind()  # fmt: skip


PARTS = [(1, 128, 3, 4, 4), (1, 8, 10, 16)]


def test_ltx_2_s_shapes_are_found(model):
    found = []

    def look(network, x, sigmas, **_):
        found.append((x.shape, pack_module("nodes.predictor").packed(network, x)))
        return x

    sampled(model, comfy.samplers.KSAMPLER(look), PARTS)
    assert found == [(torch.Size((1, 1, 128 * 48 + 8 * 160)), tuple(map(torch.Size, PARTS)))]


@pytest.mark.parametrize("sampler", ["erk_abm", "erk_heun", "erk_euler_ancestral"])
def test_each_part_is_corrected_by_itself(model, monkeypatch, sampler):
    """Without the shapes the result is another; mode off does not look at them."""
    results = {}
    for told in (True, False):
        if not told:
            monkeypatch.setattr(pack_module("nodes.samplers"), "packed", lambda network, x: ())
        for mode in ("off", "calibrated"):
            made = sampled(model, comfy.samplers.ksampler(sampler, {"mode": mode}), PARTS)
            assert [tuple(part.shape) for part in made] == PARTS and all(part.isfinite().all() for part in made)
            results[told, mode] = made
    for k in range(2):
        assert torch.equal(results[True, "off"][k], results[False, "off"][k])
        assert not torch.equal(results[True, "calibrated"][k], results[False, "calibrated"][k])


def test_a_kept_part_stays(model):
    mask = comfy.nested_tensor.NestedTensor([torch.ones(PARTS[0]), torch.zeros(PARTS[1])])
    made = sampled(model, comfy.samplers.ksampler("erk_abm", {}), PARTS, mask)
    assert made[0].abs().max() > 0.1 and torch.allclose(made[1], torch.zeros(PARTS[1]), atol=1e-5)


def test_one_latent_has_no_parts():
    found = []
    what = Problem("plain", (1, 8), KernelDensity(torch.randn((4, 8), dtype=torch.float64), 0.1), "", ())
    bench = Bench(what, "flow", what.noise(2))

    def look(network, x, sigmas, **_):
        found.append(pack_module("nodes.predictor").packed(network, x))
        return x

    bench.sample(look, bench.sigmas("simple", 4))
    assert found == [()]


def test_the_benchmark_s_latent_is_packed_as_its_noise():
    assert bench_packed.PARTS == (data.CLIP, data.SOUND)
    what = Problem("clips", (1, 1792), KernelDensity(data.clips(20), 0.1), "", ())
    noise = what.noise(2)
    plain, nested = Bench(what, "flow", noise), Bench(what, "flow", noise, bench_packed.PARTS)
    sigmas = plain.sigmas("simple", 6)
    off, calibrated = (
        [bench.sample("erk_deis", sigmas, {"mode": mode})[0] for bench in (plain, nested)]
        for mode in ("off", "calibrated")
    )
    assert torch.equal(*off) and not torch.equal(*calibrated)
