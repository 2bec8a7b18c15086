"""The network of photographs and its judge. Crops come from scikit-learn's two photographs: nothing is fetched."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from sklearn.datasets import load_sample_image

from bench.instruments import crops, edm, network, photo_network
from bench.instruments.comfy_model import Bench
from bench.instruments.grain import grain
from bench.photographs.judge import flat_places, patches_of
from bench.photographs.measure import SCHEDULES

HERE = [list(crops.PHOTOGRAPHS).index(name) for name in ("china.jpg", "flower.jpg")]


@pytest.fixture(scope="module")
def networks():
    return photo_network.load()


@pytest.fixture(scope="module")
def held_out():
    return crops.draw(96, torch.Generator().manual_seed(0), held_out=True, classes=HERE)


def one_hot(classes):
    return torch.eye(crops.CLASSES)[classes]


def test_the_weights_are_small_and_about_a_million(networks):
    assert photo_network.WEIGHTS.stat().st_size <= 4 * 2**20
    assert 0.8e6 < edm.weights(networks[0]) < 1.3e6


@pytest.mark.parametrize("held", [False, True])
def test_a_crop_is_of_its_photograph(held):
    pictures, classes = crops.draw(64, torch.Generator().manual_seed(1), held, HERE)
    assert pictures.shape == (64, 3, crops.SIZE, crops.SIZE) and pictures.abs().max() <= 1
    assert set(classes.tolist()) == set(HERE)
    colours = torch.stack(
        [torch.tensor(load_sample_image(list(crops.PHOTOGRAPHS)[k]).mean((0, 1))) / 127.5 - 1 for k in HERE]
    )
    cropped = torch.stack([pictures[classes == k].mean((0, 2, 3)) for k in HERE]).double()
    assert torch.cdist(cropped, colours).argmin(1).tolist() == [0, 1]


def test_no_held_out_crop_was_trained_on():
    kinds = [
        crops.draw(300, torch.Generator().manual_seed(seed), held, HERE)[0].flatten(1)
        for seed, held in ((0, False), (1, True))
    ]
    assert torch.cdist(*kinds).min() > 0.1


BOUNDS = {0.1: 0.055, 0.4: 0.12, 2.0: 0.215}
"""For each noise level, a bound on the RMS error of the denoised crops: the measured value plus a tenth."""


@pytest.mark.parametrize("sigma", BOUNDS)
def test_held_out_crops_are_denoised(networks, held_out, sigma):
    data, classes = held_out
    noisy = data + sigma * torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    model = edm.Model(networks[0], classes=one_hot(classes))
    error = float((model.guided(noisy, sigma, flow=False) - data).square().mean().sqrt())
    untrained = edm.Model(photo_network.Denoiser(), classes=one_hot(classes))
    without = float((untrained.guided(noisy, sigma, flow=False) - data).square().mean().sqrt())
    assert error < BOUNDS[sigma] < 0.8 * without, (error, without)


def test_the_class_improves_the_prediction(networks, held_out):
    data, classes = held_out
    noisy = data + 5 * torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    wrong = torch.tensor(HERE).flip(0)[(classes == HERE[1]).long()]
    told = {
        "right": one_hot(classes),
        "none": torch.zeros(len(data), crops.CLASSES),
        "wrong": one_hot(wrong),
    }
    errors = {
        name: float((edm.Model(networks[0], classes=c).guided(noisy, 5.0, flow=False) - data).square().mean())
        for name, c in told.items()
    }
    assert errors["right"] < errors["none"] < errors["wrong"], errors


def test_the_classifier_distinguishes_the_photographs(networks, held_out):
    data, classes = held_out
    assert (networks[1](data).argmax(1) == classes).float().mean() > 0.95
    assert networks[1].features(data).shape == (len(data), photo_network.Classifier.FEATURES)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_comfyui_samples_each_picture_with_its_class_and_guidance(networks, kind, cfg):
    """ComfyUI's Euler, compared with the same steps from the prediction itself."""
    noise = torch.randn((3, 3, crops.SIZE, crops.SIZE), generator=torch.Generator().manual_seed(0))
    model = edm.Model(networks[0], cfg, one_hot(torch.tensor([0, 3, 6])))
    bench = Bench(model, kind, noise)
    sigmas = bench.sigmas(SCHEDULES[kind], 4)
    x = bench.start(sigmas)
    for sigma, following in pairwise(sigmas.tolist()):
        denoised = model.guided(x, sigma, bench.flow)
        x = denoised + (following / sigma) * (x - denoised)
    samples, calls = bench.sample("euler", sigmas)
    assert calls == 4
    torch.testing.assert_close(samples, x, rtol=1e-3, atol=1e-3)


def test_flow_and_sigma_space_are_one_model(networks):
    x = torch.randn((2, 3, crops.SIZE, crops.SIZE), generator=torch.Generator().manual_seed(0))
    model = edm.Model(networks[0], 3.0, one_hot(torch.tensor([1, 7])))
    torch.testing.assert_close(
        model.guided(0.25 * x, 0.75, flow=True), model.guided(x, 3.0, flow=False), rtol=1e-4, atol=1e-5
    )


def test_noise_is_measured_only_in_flat_places():
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 16:] = torch.rand((1, 3, 32, 16), generator=torch.Generator().manual_seed(0))
    flat = flat_places(picture)
    assert flat[..., :13].all() and not flat[..., 16:].any()
    assert grain(picture, flat) == 0
    noise = 0.1 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    # The mean of nine pixels, of which one is the pixel itself, leaves 8/9 of the variance.
    assert grain(picture + noise, flat) == pytest.approx(0.1 * (8 / 9) ** 0.5, rel=0.1)
    slope = picture + torch.linspace(-1, 1, 32)[:, None]
    assert grain(slope, flat & (torch.arange(32)[:, None] % 31 > 0)) < 1e-6


def test_patches_are_of_the_picture():
    pictures = torch.arange(2 * 3 * 32 * 32.0).view(2, 3, 32, 32)
    patches = patches_of(pictures)
    assert patches.shape == (32, 192)
    assert torch.equal(patches[17].view(3, 8, 8), pictures[1, :, :8, 8:16])


def test_an_interrupted_training_ends_at_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(edm, "KEPT_EVERY", 2)
    state = tmp_path / "state.pt"
    images = torch.rand((20, 64), generator=torch.Generator().manual_seed(0))

    def run(stop_at=None, resume=None):
        torch.manual_seed(0)
        batches = iter(range(100))

        def draw():
            if next(batches) == stop_at:
                raise KeyboardInterrupt
            return images[torch.randint(len(images), (4,))], None

        return edm.train(network.Denoiser(), draw, 5, 1e-3, resume=resume).state_dict()

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=3, resume=state)
    assert torch.load(state)["step"] == 2
    torch.rand(7)  # the generator is not where it was
    resumed = run(resume=state)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
