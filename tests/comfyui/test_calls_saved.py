"""Calls saved, from made-up tables whose answers are known."""

from __future__ import annotations

import csv
import math

import pytest

from bench import calls_saved
from bench.calls_saved import Need, against, best, calls_for, mean, need, parts, read

BUDGETS = (8, 12, 16, 24, 32, 64)


def law(order: float, factor: float = 1.0) -> list[tuple[float, float]]:
    """A power law, which interpolation of logarithms reproduces exactly."""
    return [(float(calls), factor * calls**-order) for calls in BUDGETS]


def test_interpolation_is_exact_on_power_laws():
    assert calls_for(law(2), 20.0**-2) == pytest.approx(20)
    assert calls_for(law(2), 12.0**-2) == pytest.approx(12)
    assert calls_for(law(2), 1.0) == 8
    assert calls_for(law(2), 65.0**-2) == math.inf


def test_the_first_time_counts_where_a_curve_goes_up_again():
    assert calls_for([(8.0, 1.0), (16.0, 0.25), (32.0, 0.5), (64.0, 0.01)], 0.5) == pytest.approx(8 * math.sqrt(2))
    assert calls_for([(8.0, math.inf), (16.0, 0.1)], 0.5) == 16


def test_need():
    ours = law(3)
    made = need(law(2), ours, 12)
    assert made is not None and made.ratio == pytest.approx(12**1.5 / 12) and not made.never
    assert need(law(1), ours, 16) == Need(64 / 16, never=True)
    assert need(law(2), ours, 10) is None


def test_a_loss_has_its_true_size():
    """Theirs at 8 calls is as good as ours at 20. So the answer is 0.4 for any number of our calls."""
    theirs = [(calls, error * (20 / 8) ** -3) for calls, error in law(3)]
    for calls in (8, 12, 16):
        made = need(theirs, law(3), calls)
        assert made is not None and made.ratio == pytest.approx(0.4) and not made.never


def write(path, curves, network=""):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "kind", "schedule", "budget", "sampler", "mode", "calls", "error"])
        for kind, sampler, mode, curve in curves:
            for calls, error in curve:
                writer.writerow([network, kind, "simple", round(calls), sampler, mode, round(calls), error])


CURVES = [
    ("eps", "erk_abm", "calibrated", law(3)),
    ("eps", "erk_abm", "off", law(9)),
    ("eps", "dpmpp_2m", "stock", law(2)),
    ("eps", "euler", "stock", law(1)),
    ("eps", "cab2", "peer", law(2.5)),
    ("flow", "erk_abm", "calibrated", law(3)),
    ("flow", "dpmpp_2m", "stock", law(3, 8.0)),
    ("flow", "euler", "stock", law(1)),
    ("edm", "dpmpp_2m", "stock", law(3)),
]


def test_a_table_with_a_known_answer(tmp_path):
    write(tmp_path / "rows.csv", CURVES, "HSC")
    cells = read(tmp_path / "rows.csv")
    assert [cell.family for cell in cells] == ["sigma-space", "flow"]  # edm has nothing of ours
    assert set(parts(cells)) == {"HSC", "sigma-space", "flow", "all"}
    eps, flow = cells
    first, second = best(eps, 8), best(flow, 8)
    assert first is not None and first.ratio == pytest.approx(math.sqrt(8))  # a peer is no stock sampler
    assert second is not None and second.ratio == pytest.approx(2)
    assert mean(against(cells, "dpmpp_2m", 8)) == pytest.approx(math.sqrt(math.sqrt(8) * 2))
    assert [made.never for made in against(cells, "euler", 8)] == [True, True]
    assert [made.ratio for made in against(cells, "cab2", 8)] == [pytest.approx(8**1.2 / 8)]


def test_the_report(tmp_path, capsys):
    write(tmp_path / "rows.csv", CURVES)
    assert calls_saved.main(["--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "CALLS_SAVED.md").read_text()
    assert "| rows, sigma-space, 8 calls | 2.83 | 2.83 |" in text
    assert "| rows, all, 8 calls | 2.38 | 2.38 |" in text
    assert "| euler | > 64.0 | 2 of 2 |" in text
    assert "| cab2, peer | 12.1 | 0 of 1 |" in text
    assert (tmp_path / "out" / "calls_saved.png").stat().st_size > 10_000


def test_it_says_so_if_there_is_nothing_to_report(tmp_path, capsys):
    write(tmp_path / "rows.csv", CURVES[2:4])
    assert calls_saved.main(["--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path)]) == 1
    assert "No rows of erk_abm" in capsys.readouterr().err
