"""The benchmark of schedules and of the runs' own errors, on one cheap problem, and what its page is made of."""

from __future__ import annotations

import math

import pytest

from bench import schedules
from bench.instruments import rows, schedule_cells, schedule_report
from bench.instruments.environment import RESULTS
from bench.instruments.schedule_rows import ErrorRow, Row


@pytest.fixture(scope="module")
def case():
    return schedules.of_problem("spiral-0.10", "flow")


def test_every_schedule_is_judged_by_the_same_noises(case):
    made = list(schedules.planned(case))
    assert len(made) == len(schedules.BUDGETS) * len(schedules.JUDGED) * (len(schedules.SCHEDULES["flow"]) + 1)
    traced = len(case.other.noise)
    assert not (case.bench.noise[:traced] == case.other.noise).any(), "traced on other noises than those judged"
    for compared in schedule_cells.compare(made):
        assert 0 < compared.traced < 1, "planned from another noise, the flow model gains"
        assert compared.best >= compared.traced


def test_each_run_tells_an_error(case):
    made = list(schedules.estimated(case))
    assert {row.mode for row in made} == set(schedules.ERROR_MODES)
    assert all(row.estimate > 0 and row.true > 0 for row in made)
    assert schedule_report.rank_correlation([(row.estimate, row.true) for row in made]) > 0.5


def test_rank_correlation():
    assert schedule_report.rank_correlation([(1, 10), (2, 20), (5, 21)]) == pytest.approx(1.0)
    assert schedule_report.rank_correlation([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1.0)


def test_the_page_is_what_the_rows_give(tmp_path):
    """No figure on the page is typed in."""
    made, errors = rows.read(RESULTS / schedules.CSV, Row), rows.read(RESULTS / schedules.ERRORS_CSV, ErrorRow)
    page = (RESULTS / "SCHEDULES.md").read_text()
    schedule_report.write(made, errors, tmp_path, page.splitlines()[2])
    assert (tmp_path / "SCHEDULES.md").read_text() == page
    left_out = {name for name in schedules.MAKERS if schedule_cells.is_check(name)} | set(schedules.TOO_SLOW)
    assert all(name in page for name in schedules.MAKERS if name not in left_out)
    assert all(math.isfinite(row.error) for row in made)
