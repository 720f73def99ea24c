"""How fast replicas are, as a scheduler sees it."""

import pytest

from nnpm_scheduler.dispatch.pace import Pace
from nnpm_scheduler.dispatch.statistics import BatchFigures


def ran(pace: Pace, seconds: float) -> None:
    pace.ran(BatchFigures(1, 1, 0, int(seconds * 1e9), 0))


def test_before_anything_was_seen_nothing_is_known_and_then_what_full_batches_would_give() -> None:
    pace = Pace()
    for seconds in (9.0, 0.5, 0.5):
        ran(pace, seconds)
        assert pace.rate(2, 8) == 0.0
    ran(pace, 0.5)
    assert pace.rate(2, 8) == 32.0  # however slow the first one was


@pytest.mark.parametrize("run", [0.01, 0.2, 1.5])
def test_the_rate_is_what_gets_done_while_something_waits(run: float) -> None:
    pace, now = Pace(), 100.0
    ran(pace, run)
    pace.look(now, waiting=True)
    for _ in range(int(5 / run) + 20):
        now += run
        pace.work += 6
        pace.look(now, waiting=True)
    assert pace.rate(1, 64) == pytest.approx(6 / run, rel=0.05)


def test_what_gets_done_while_nothing_waits_tells_nothing() -> None:
    pace = Pace()
    for _ in range(4):
        ran(pace, 0.01)
    for step in range(1, 40):
        pace.work += 1
        pace.look(float(step), waiting=False)
    assert pace.rate(1, 1) == pytest.approx(100)


def test_a_time_in_which_nobody_looked_is_left_out() -> None:
    pace = Pace()
    for _ in range(4):
        ran(pace, 0.01)
    for step in range(150):
        pace.look(step / 100, waiting=True)
        pace.work += 1
    pace.look(60.0, waiting=True)
    assert pace.rate(1, 1) == pytest.approx(100)


def test_more_replicas_show_within_seconds() -> None:
    pace, now = Pace(), 0.0
    ran(pace, 0.05)
    for replicas, wanted in ((1, 20), (4, 80)):
        for _ in range(60):
            pace.look(now, waiting=True)
            pace.work += replicas
            now += 0.05
        assert pace.rate(1, 1) == pytest.approx(wanted, rel=0.15)


def test_what_is_seen_in_less_than_a_second_tells_nothing() -> None:
    pace = Pace()
    for _ in range(4):
        ran(pace, 0.01)
    for step in range(50):
        pace.look(step / 100, waiting=True)
    assert pace.rate(1, 1) == pytest.approx(100)


def test_an_outage_tells_nothing_while_it_lasts_nor_for_a_second_afterwards() -> None:
    pace, now = Pace(), 0.0

    def go_on(seconds: float, *, answered: bool) -> None:
        nonlocal now
        for _ in range(round(seconds * 100)):
            now += 0.01
            pace.work += answered
            pace.look(now, waiting=True)

    for _ in range(4):
        ran(pace, 0.01)
    go_on(3, answered=True)
    assert pace.rate(1, 4) == pytest.approx(100, rel=0.05)
    go_on(4, answered=False)
    assert pace.rate(1, 4) == 0.0
    go_on(0.9, answered=True)
    assert pace.rate(1, 4) == pytest.approx(400)
    go_on(0.2, answered=True)
    assert pace.rate(1, 4) == pytest.approx(100, rel=0.05)
