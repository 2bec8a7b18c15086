"""The pack inside a real ComfyUI, in this process: equality with the stock samplers, the registry, the demo model."""

from __future__ import annotations

import inspect
import logging
from types import ModuleType

import pytest
import torch

from devtools.inprocess import load_pack, pack_module
from devtools.twins import TWINS

load_pack()

import comfy.k_diffusion.sampling as k_diffusion  # noqa: E402
import comfy.model_sampling  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
from sampling import sample, sigmas_for  # noqa: E402

samplers: ModuleType = pack_module("nodes.samplers")
demo: ModuleType = pack_module("nodes.demo.model")
pictures: ModuleType = pack_module("nodes.demo.pictures")
erk: ModuleType = pack_module("erk")

NAMES = [f"erk_{name}" for name in erk.SOLVERS]
KINDS = pytest.mark.parametrize("kind", ["eps", "v", "flow"])


@KINDS
@pytest.mark.parametrize("solver", TWINS)
def test_off_is_the_stock_sampler(kind, solver):
    ours, (stock, stock_options) = f"erk_{solver}", TWINS[solver]
    model = demo.build_demo_model(kind)
    sigmas = sigmas_for(model, 12)
    expected = sample(model, stock, sigmas, stock_options)
    result = sample(model, ours, sigmas, {"mode": "off"})
    assert torch.allclose(result, expected, rtol=1e-4, atol=2e-4)
    in_their_order = ours in ("erk_heun", "erk_euler")
    assert not in_their_order or torch.equal(result, expected), "these are made in ComfyUI's own order, to the last bit"
    guided = sample(model, ours, sigmas, {"mode": "paper", "w_stiff": 1.0, "w_con": 0.0})
    assert (guided - expected).abs().max() > 20 * (result - expected).abs().max(), (
        "guidance must show, or nothing is compared"
    )


@KINDS
@pytest.mark.parametrize("order", [2, 3, 4])
def test_off_is_the_stock_deis_at_each_order(kind, order):
    model = demo.build_demo_model(kind)
    sigmas = sigmas_for(model, 10)
    expected = sample(model, "deis", sigmas, {"max_order": order})
    assert torch.allclose(
        sample(model, "erk_deis", sigmas, {"mode": "off", "max_order": order}), expected, rtol=1e-4, atol=2e-4
    )


@pytest.mark.parametrize("solver", TWINS)
@KINDS
def test_as_many_model_calls_and_callbacks_as_stock(solver, kind, monkeypatch):
    ours, (stock, options) = f"erk_{solver}", TWINS[solver]
    calls = []
    original = demo.DemoDenoiser._apply_model
    monkeypatch.setattr(
        demo.DemoDenoiser, "_apply_model", lambda self, *a, **k: calls.append(1) or original(self, *a, **k)
    )
    model = demo.build_demo_model(kind)
    sigmas = sigmas_for(model, 7)
    counts, steps = {}, {}
    for name, extra in [(stock, options), *((ours, {"mode": mode}) for mode in erk.MODES)]:
        calls.clear()
        seen: list[tuple[int, int]] = []
        sample(model, name, sigmas, extra, cfg=1.0, callback=lambda i, x0, x, total, seen=seen: seen.append((i, total)))
        key = (name, *extra.values())
        counts[key], steps[key] = len(calls), seen
    assert len(set(counts.values())) == 1, counts
    assert all(seen == [(i, 7) for i in range(7)] for seen in steps.values())


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("name", [f"erk_{name}" for name in (*erk.SOLVERS, *erk.NOISY)])
@pytest.mark.parametrize("mode", ["off", "calibrated"])
def test_the_last_callback_shows_the_result(kind, name, mode):
    """Detailers take what the last callback shows for the picture, as denoised_output of SamplerCustomAdvanced does."""
    model = demo.build_demo_model(kind)
    sigmas = sigmas_for(model, 6)
    shown: list[torch.Tensor] = []
    for levels in (sigmas, sigmas[:-2]):
        shown.clear()
        made = sample(model, name, levels, {"mode": mode}, callback=lambda i, x0, x, total: shown.append(x0.clone()))
        assert len(shown) == len(levels) - 1
        assert torch.equal(shown[-1], made) == (levels[-1] == 0), "a run that goes on shows predictions"


def test_registered_once_in_place_and_idempotent():
    names = comfy.samplers.SAMPLER_NAMES
    before = list(names)
    samplers.register_samplers()
    assert comfy.samplers.SAMPLER_NAMES is names and names == before
    assert comfy.samplers.KSampler.SAMPLERS is names
    noisy = [f"erk_{name}" for name in erk.NOISY]
    assert [name for name in names if name.startswith("erk_")] == [*NAMES, *noisy]
    for name in NAMES:
        assert getattr(k_diffusion, f"sample_{name}") is samplers.SAMPLERS[name]
        assert name not in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS


@pytest.mark.parametrize("name", NAMES)
def test_signature(name):
    parameters = inspect.signature(samplers.SAMPLERS[name]).parameters
    assert list(parameters)[:6] == ["model", "x", "sigmas", "extra_args", "callback", "disable"]
    for option, default in {"mode": "calibrated", "w_stiff": None, "w_con": None, "trace": None}.items():
        assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY and parameters[option].default == default
    assert ("max_order" in parameters) == issubclass(erk.SOLVERS[name.removeprefix("erk_")], erk.Multistep)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "magic"},
        {"w_stiff": -1.0},
        {"w_con": float("nan")},
        {"max_order": 7},
        {"w_stif": 1.0},
        {"trace": "yes"},
    ],
)
def test_bad_options_are_reported_before_any_model_call(name, options):
    calls = []
    with pytest.raises((ValueError, TypeError)) as caught:
        samplers.SAMPLERS[name](
            lambda *a, **k: calls.append(1), torch.ones(1, 3, 4, 4), torch.tensor([1.0, 0.5, 0.0]), **options
        )
    assert calls == []
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrapper_that_hides_the_model_counts_as_sigma_space_with_one_warning(name, caplog):
    class Wrapper:
        """As other packs wrap models: `inner_model` and `sigmas`, nothing else."""

        def __init__(self):
            self.inner_model = lambda x, sigma, **kwargs: x / (1 + sigma.view(-1, 1, 1, 1) ** 2)
            self.sigmas = None

        def __call__(self, x, sigma, **kwargs):
            return self.inner_model(x, sigma, **kwargs)

    samplers._warn_unknown_sampling.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            result = samplers.SAMPLERS[name](
                Wrapper(), torch.ones(1, 3, 4, 4), torch.tensor([4.0, 2.0, 1.0, 0.0]), disable=True
            )
    assert torch.isfinite(result).all()
    assert sum("sampling type" in record.message for record in caplog.records) == 1


def test_kind_of_model_is_read_through_comfyuis_wrappers():
    for kind, expected in (("eps", erk.SIGMA_SPACE), ("v", erk.SIGMA_SPACE), ("flow", erk.FLOW)):
        seen = []
        original = samplers.noise_process
        try:
            samplers.noise_process = lambda model, original=original, seen=seen: (
                seen.append(original(model)) or seen[-1]
            )
            model = demo.build_demo_model(kind)
            sample(model, "erk_heun", sigmas_for(model, 2))
        finally:
            samplers.noise_process = original
        assert seen == [expected]


class TestDemoModel:
    """The demo's denoiser is the exact posterior mean."""

    def test_tweedie(self):
        """D = (x + sigma^2 grad log p(x)) / alpha, with an independent formula for the density, in float64."""
        mixture = pictures.TileMixture().double()
        for alpha, sigma in ((1.0, 3.0), (1.0, 0.2), (0.4, 0.6)):
            generator = torch.Generator().manual_seed(1)
            picture = mixture.sample(2, 1, 1, generator)
            x = (
                alpha * picture + sigma * torch.randn(picture.shape, generator=generator, dtype=torch.float64)
            ).requires_grad_()
            tile = x.reshape(-1)
            logs = []
            for j in range(mixture.means.shape[0]):
                q, t = mixture.tints[j], mixture.tint_variance[j]
                base = alpha**2 * pictures.TEXTURE**2 + sigma**2
                factor = q * (alpha * t.sqrt())[:, None]  # covariance = base * I + factor^T factor
                distribution = torch.distributions.LowRankMultivariateNormal(
                    alpha * mixture.means[j], factor.T, torch.full_like(tile, base)
                )
                share = mixture.membership[:, j].sum() / len(pictures.CLASSES)
                logs.append(distribution.log_prob(tile) + share.log())
            (score,) = torch.autograd.grad(torch.logsumexp(torch.stack(logs), 0), x)
            expected = (x + sigma**2 * score) / alpha
            one = torch.ones(1, dtype=torch.float64)
            result = mixture.denoise(x.detach(), sigma * one, alpha * one, torch.zeros(1, 4, dtype=torch.float64))
            assert torch.allclose(result, expected.detach(), rtol=1e-6, atol=1e-6)

    def test_classes_are_distinguished(self):
        mixture = pictures.TileMixture()
        picture = mixture.sample(0, 2, 2, torch.Generator().manual_seed(0))
        one, weights = torch.ones(1), torch.eye(4)
        own, other = (mixture.denoise(picture, 0.05 * one, one, weights[i : i + 1]) for i in (0, 1))
        assert (own - picture).square().mean() < 0.01 * (other - picture).square().mean()

    def test_cfg_and_zero_out_mean_what_they_say(self):
        """At cfg 1 only the class counts. ConditioningZeroOut means "everything"."""
        model = demo.build_demo_model("eps")
        sigmas = sigmas_for(model, 8)
        plain, strong = sample(model, "euler", sigmas, cfg=1.0), sample(model, "euler", sigmas, cfg=6.0)
        assert (plain - strong).abs().max() > 0.05
        assert not demo.class_conditioning("everything")[0][0].any()

    def test_a_latent_of_another_shape_is_told(self):
        model = demo.build_demo_model("eps")
        with pytest.raises(ValueError, match=r"shape \(3, 40, 40\).*divisible by 32"):
            sample(model, "erk_heun", sigmas_for(model, 2), size=40)

    def test_samples_are_pictures_of_the_class(self):
        """With many steps, every tile is closer to a design of its class than to one of any other class."""
        model = demo.build_demo_model("eps")
        result = sample(model, "erk_deis", sigmas_for(model, 30), size=96, batch=4)
        mixture = model.model.diffusion_model
        tiles = pictures._to_tiles(result).flatten(0, 1)
        nearest = torch.cdist(tiles, mixture.means).argmin(1)
        assert mixture.membership[0, nearest].gt(0).all()


class TestDemoPhotographs:
    """The demo model's learned network."""

    def test_kinds_are_one_network(self):
        """At equal sigma/alpha, eps, v and flow models predict the same picture."""
        picture = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
        weights = demo.class_conditioning("temple")[0][0]
        sigma, predictions = 0.75, []
        for kind in ("eps", "v", "flow"):
            model = demo.build_demo_model(kind, "temple").model
            level = sigma / (1 + sigma) if kind == "flow" else sigma
            x = (1 - level) * picture if kind == "flow" else picture
            predictions.append(model._apply_model(x, torch.tensor([level]), c_crossattn=weights))
        assert predictions[0].std() > 0.1
        for other in predictions[1:]:
            assert torch.allclose(predictions[0], other, atol=2e-5)

    @pytest.mark.parametrize("side", [64, 96])
    def test_it_draws_what_is_asked_for(self, side):
        """The flower photograph is warm on green, the galaxies are nearly black, and neither is noise."""
        shown = {}
        for name in ("flower", "galaxies"):
            model = demo.build_demo_model("eps", name)
            noise = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(1))
            positive, negative = demo.class_conditioning(name), demo.class_conditioning("all photographs")
            sampler = comfy.samplers.sampler_object("erk_abm")
            shown[name] = comfy.sample.sample_custom(
                model, noise, 2.0, sampler, sigmas_for(model, 16), positive, negative, torch.zeros_like(noise), seed=0,
                disable_pbar=True,
            )  # fmt: skip
        assert shown["galaxies"].mean() < -0.7
        red, _, blue = shown["flower"].mean(dim=(0, 2, 3))
        assert red > blue + 0.2
        smooth = torch.nn.functional.avg_pool2d(shown["flower"], 4)
        assert smooth.std() > 0.6 * shown["flower"].std()

    def test_conditioning_of_the_other_model_is_told(self):
        """Mosaics have four classes, photographs eight."""
        model = demo.build_demo_model("eps", "coffee")
        with pytest.raises(ValueError, match="has 4 numbers a token, but must have 8: connect positive and negative"):
            sample(model, "erk_heun", sigmas_for(model, 2), size=64)

    def test_a_latent_of_another_shape_is_told(self):
        model = demo.build_demo_model("eps", "coffee").model
        with pytest.raises(ValueError, match=r"shape \(3, 36, 64\).*divisible by 8"):
            model._apply_model(torch.zeros(1, 3, 36, 64), torch.ones(1))


@KINDS
@pytest.mark.parametrize("mode", erk.MODES)
@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_is_its_solver_on_the_model(name, mode, kind):
    """What tests of ``erk`` show for a solver holds for the sampler: the same numbers on eps, v and flow models."""
    model = demo.build_demo_model(kind)
    sigmas, process = sigmas_for(model, 6), erk.FLOW if kind == "flow" else erk.SIGMA_SPACE
    results = []

    coefficients = samplers._comfy_deis_coefficients if name == "erk_deis" else None
    solver, guidance = (
        erk.make_solver(name.removeprefix("erk_"), process, None, coefficients),
        erk.make_guidance(mode, None, None, 6),
    )

    def alone(model, x, sigmas, extra_args, callback, disable):
        results.append(
            erk.integrate(lambda x, sigma: model(x, sigma, **extra_args), x, sigmas, solver, guidance, process)
        )
        return samplers.SAMPLERS[name](model, x, sigmas, extra_args, callback, disable, mode=mode)

    noise = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(5))
    positive, negative = demo.class_conditioning("arcs"), demo.class_conditioning("everything")
    kind_of = comfy.samplers.KSAMPLER(alone)
    result = comfy.sample.sample_custom(
        model, noise, 3.0, kind_of, sigmas, positive, negative, torch.zeros_like(noise), disable_pbar=True
    )
    assert torch.equal(result, results[0])
