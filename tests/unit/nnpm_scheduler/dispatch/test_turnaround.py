"""How much a scheduler lets out beside others."""

import pytest

from nnpm_scheduler.dispatch.turnaround import Turnaround

RUN, READY = 0.1, 8


def answered(turnaround: Turnaround, seconds: float, entries: int, *, waited: bool = True) -> None:
    for _ in range(entries):
        turnaround.ended([(0.0, RUN)], seconds, READY, RUN, waited=waited)


def test_alone_it_lets_out_one_for_each_replica() -> None:
    turnaround = Turnaround()
    answered(turnaround, RUN + 0.004, 100)
    assert turnaround.open == READY
    answered(turnaround, 9 * RUN, 100)  # nobody else's lies before its own
    assert turnaround.open == READY
    turnaround = Turnaround()
    answered(turnaround, RUN + 0.004, 100)
    assert turnaround.seconds == pytest.approx(RUN + 0.004)


def test_what_lay_behind_others_makes_it_let_out_less_but_no_less_than_its_share_and_more_again_afterwards() -> None:
    turnaround = Turnaround()
    turnaround.schedulers = 4
    answered(turnaround, 2 * RUN, 30)
    assert 2 < turnaround.open < 4
    answered(turnaround, 2 * RUN, 300)
    assert turnaround.open == READY / 4
    answered(turnaround, RUN, 150)
    assert turnaround.open == READY


def test_while_nothing_waits_nothing_is_concluded() -> None:
    turnaround = Turnaround()
    answered(turnaround, 3 * RUN, 100, waited=False)
    assert min(turnaround.open, READY) == READY


def test_schedulers_come_to_share_alike_however_they_begin() -> None:
    """Three beside each other; entries wait when more are out together than there are replicas."""
    schedulers = [Turnaround() for _ in range(3)]
    for turnaround, begin in zip(schedulers, (8.0, 3.0, 4.0), strict=True):
        turnaround.open, turnaround.schedulers = begin, 3
    for _ in range(400):
        out = sum(turnaround.open for turnaround in schedulers)
        for turnaround in schedulers:
            answered(turnaround, max(1.0, out / READY) * RUN, round(turnaround.open))
    assert all(2.0 < turnaround.open < 4.5 for turnaround in schedulers), [each.open for each in schedulers]
