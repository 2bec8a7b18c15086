"""Other people's score networks are read and evaluated as their format says. Benchmarks fetch only the pinned file."""

from __future__ import annotations

import io
import math
import subprocess
import zipfile

import numpy as np
import pytest
import torch

from bench.instruments import packages
from bench.instruments.grain import grain, local_mean
from bench.instruments.packages import FetchError, Package
from bench.instruments.score_network import FILES, Galaxies, ScoreNetwork, load, read_arrays
from bench.networks import HIGHEST, levels, sky_of

CHANNELS, SIDE, PATCH, WIDTHS = 3, 8, 4, (5, 6)
PATCHES = (SIDE // PATCH) ** 2


def made_up_arrays(blocks: int = 2) -> list[np.ndarray]:
    """A small network in the order of an .eqx file."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    arrays = [array(CHANNELS, 2, PATCH, PATCH), array(CHANNELS, 1, 1), array(1, CHANNELS, PATCH, PATCH), array(1, 1, 1)]
    for _ in range(blocks):
        for size, width in ((PATCHES, WIDTHS[0]), (CHANNELS, WIDTHS[1])):
            arrays += [array(width, size), array(width), array(size, width), array(size)]
        arrays += [
            array(CHANNELS, PATCHES),
            array(CHANNELS, PATCHES),
            array(PATCHES, CHANNELS),
            array(PATCHES, CHANNELS),
        ]
    return [*arrays, array(CHANNELS, PATCHES), array(CHANNELS, PATCHES), np.array(10.0)]


def as_file(arrays: list[np.ndarray]) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def by_definition(arrays: list[np.ndarray], y: np.ndarray, t: float) -> np.ndarray:
    """The score of one picture [side, side], by loops over patches in NumPy."""
    arrays = [a.astype(np.float64) for a in arrays]
    planes = np.stack([y, np.full_like(y, t / arrays[-1])])
    across = SIDE // PATCH
    corners = [(PATCH * (p // across), PATCH * (p % across)) for p in range(PATCHES)]
    places = [(slice(top, top + PATCH), slice(left, left + PATCH)) for top, left in corners]
    h = (
        np.stack([(arrays[0] * planes[:, rows, columns]).sum((1, 2, 3)) for rows, columns in places], 1)
        + arrays[1][:, :, 0]
    )

    def norm(h: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return (h - h.mean()) / np.sqrt(h.var() + 1e-5) * weight + bias

    def perceptron(
        rows: np.ndarray, up: np.ndarray, up_bias: np.ndarray, down: np.ndarray, down_bias: np.ndarray
    ) -> np.ndarray:
        return np.maximum(rows @ up.T + up_bias, 0) @ down.T + down_bias

    rest = arrays[4:-3]
    while rest:
        block, rest = rest[:12], rest[12:]
        h = h + perceptron(norm(h, *block[8:10]), *block[:4])
        h = (h.T + perceptron(norm(h.T, *block[10:12]), *block[4:8])).T
    h = norm(h, *arrays[-3:-1])
    score = np.empty_like(y)
    for p, (rows, columns) in enumerate(places):
        # A convolution over the picture spread out with zeros: each patch is its vector times the kernel turned around.
        score[rows, columns] = np.einsum("c,cyx->yx", h[:, p], arrays[2][0, :, ::-1, ::-1]) + arrays[3]
    return score


def test_a_file_is_read_in_its_order():
    arrays = made_up_arrays()
    read = read_arrays(as_file(arrays))
    assert len(read) == len(arrays)
    assert all(np.array_equal(a, b) for a, b in zip(read, arrays, strict=True))


def test_a_file_that_is_cut_off_is_refused():
    with pytest.raises(ValueError, match=r".+"):
        read_arrays(as_file(made_up_arrays())[:-4])


def test_arrays_of_another_network_are_refused():
    with pytest.raises(ValueError, match="arrays do not make a network"):
        ScoreNetwork(made_up_arrays()[1:])
    wrong = made_up_arrays()
    wrong[5] = wrong[5][:-1]
    with pytest.raises(ValueError, match="An array has the shape .* is expected there"):
        ScoreNetwork(wrong)


@pytest.mark.parametrize("t", [0.0, 0.3, 12.0])
def test_the_score_is_that_of_the_layers_written_out(t):
    arrays = made_up_arrays()
    network = ScoreNetwork(arrays)
    assert network.side == SIDE
    y = np.random.default_rng(1).normal(size=(3, SIDE, SIDE))
    result = network.double()(torch.from_numpy(y)[:, None], torch.full((3,), t, dtype=torch.float64))
    expected = np.stack([by_definition(arrays, picture, t) for picture in y])
    assert np.abs(expected).max() > 0.5
    assert np.abs(result[:, 0].numpy() - expected).max() < 1e-9


class TestTheDenoiser:
    class Gaussian:
        """The score of data with deviation 0.7 in the variance-preserving process."""

        side = 8

        def __call__(self, y, t):
            alpha_2 = torch.exp(-t).reshape(-1, 1, 1, 1)
            return -y / (0.49 * alpha_2 + 1 - alpha_2)

    @pytest.mark.parametrize(
        ("sigma", "flow"), [(80.0, False), (0.002, False), (1e-5, False), (0.99, True), (0.3, True)]
    )
    def test_is_the_posterior_mean(self, sigma, flow):
        alpha = 1 - sigma if flow else 1.0
        x = torch.randn(4, 1, 8, 8, dtype=torch.float64) * (0.49 * alpha**2 + sigma**2) ** 0.5
        expected = alpha * 0.49 / (0.49 * alpha**2 + sigma**2) * x
        result = Galaxies(self.Gaussian()).predict(x, sigma, flow)
        # What the network's float32 may leave: its rounding, times how far D is from x.
        assert (result - expected).abs().max() < 3e-6 * float((x / alpha - expected).abs().max()) + 1e-12

    def test_flow_schedules_begin_where_the_network_knows_something(self):
        from bench.instruments.comfy_model import Bench

        model = Galaxies(self.Gaussian())
        for steps in (2, 8, 24):
            flow = Bench(model, "flow", torch.zeros(1, *model.shape))
            sigmas = levels(flow, steps)
            assert math.isclose(float(sigmas[0] / (1 - sigmas[0])), 140, rel_tol=1e-4)
            assert torch.equal(sigmas[1:], flow.sigmas("simple", steps)[1:])
        with pytest.raises(ValueError, match="use fewer steps"):
            levels(flow, 1000)
        assert math.isclose(HIGHEST / (1 - HIGHEST), 140)


def test_noise_in_the_sky_is_measured_and_the_galaxy_is_not():
    place = torch.arange(32.0)
    galaxy = 8 * torch.exp(-((place - 16)[:, None] ** 2 + (place - 16) ** 2) / 8).expand(2, 1, 32, 32)
    sky = sky_of(galaxy)
    assert not sky[:, :, 12:21, 12:21].any() and sky[:, :, :8].all()
    noise = torch.randn(galaxy.shape, generator=torch.Generator().manual_seed(0))
    assert grain(galaxy, sky) < 0.02
    # Less the mean of nine, independent noise keeps 8/9 of its variance.
    assert math.isclose(grain(galaxy + 0.5 * noise, sky), 0.5 * math.sqrt(8 / 9), rel_tol=0.05)
    assert torch.allclose(local_mean(torch.ones(1, 1, 9, 9), 3), torch.ones(1, 1, 9, 9))


class TestFetching:
    PACKAGE = Package("something", "1.0", "0" * 64)

    @pytest.fixture
    def pip(self, monkeypatch):
        """pip as a function of the folder that it is told to download to; its exit status."""

        def use(download):
            def run(command, **options):
                return subprocess.CompletedProcess(
                    command, download(command[command.index("--dest") + 1]), "", "no network"
                )

            monkeypatch.setattr(packages.subprocess, "run", run)

        return use

    def test_another_file_is_not_used(self, pip, tmp_path):
        def download(folder: str) -> int:
            (tmp_path / folder / self.PACKAGE.file).write_bytes(b"other")
            return 0

        pip(download)
        with pytest.raises(FetchError, match="not the pinned one"):
            self.PACKAGE.wheel(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_without_a_network_the_error_is_one_sentence(self, pip, tmp_path):
        pip(lambda folder: 1)
        with pytest.raises(FetchError, match="no network"):
            self.PACKAGE.wheel(tmp_path)

    def test_a_network_is_read_from_the_wheel(self, tmp_path):
        path = tmp_path / "galaxies.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"galaxygrad/{FILES['ZTF 32']}", as_file(made_up_arrays()))
        y, t = torch.randn(2, 1, SIDE, SIDE), torch.tensor([1.0, 2.0])
        assert torch.equal(load("ZTF 32", path)(y, t), ScoreNetwork(made_up_arrays())(y, t))
