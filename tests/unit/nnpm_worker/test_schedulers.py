"""Rule 6 of the dispatch protocol, on a clock of the test's own."""

import pytest

from nnpm.queue.schedulers import LiveScheduler
from nnpm_worker.schedulers import Schedulers

LEASE = 2.0
A, B = LiveScheduler("a", "unix:/a"), LiveScheduler("b", "unix:/b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedulers(clock: Clock) -> Schedulers:
    return Schedulers(LEASE, clock)


def test_nothing_is_read_before_the_first_session(schedulers: Schedulers) -> None:
    assert not schedulers.may_read()
    schedulers.list_read([A])
    assert not schedulers.may_read()
    schedulers.session_opened("unix:/a", "a")
    assert schedulers.may_read()


def test_a_broken_session_stops_reading_after_a_lease_only(schedulers: Schedulers, clock: Clock) -> None:
    schedulers.list_read([A, B])
    schedulers.session_opened("unix:/a", "a")
    schedulers.session_opened("unix:/b", "b")
    schedulers.session_closed("unix:/b")
    clock.now += LEASE - 0.1
    assert schedulers.may_read()
    clock.now += 0.2
    assert not schedulers.may_read()
    schedulers.session_opened("unix:/b", "b")
    assert schedulers.may_read()


def test_a_scheduler_off_the_list_is_gone_after_a_lease(schedulers: Schedulers, clock: Clock) -> None:
    schedulers.list_read([A, B])
    schedulers.session_opened("unix:/a", "a")
    schedulers.list_read([A])
    clock.now += LEASE - 0.1
    assert not schedulers.is_gone("b")
    clock.now += 0.2
    assert schedulers.is_gone("b")
    assert schedulers.may_read()
    schedulers.list_read([A, B])
    assert not schedulers.is_gone("b")


def test_absence_does_not_count_while_redis_is_away(schedulers: Schedulers, clock: Clock) -> None:
    schedulers.list_read([B])
    schedulers.list_read([])
    clock.now += LEASE
    schedulers.list_unreadable()
    assert not schedulers.is_gone("b")
    schedulers.list_read([])
    clock.now += LEASE
    assert schedulers.is_gone("b")


def test_another_incarnation_at_its_address_proves_it_gone_at_once(schedulers: Schedulers) -> None:
    schedulers.list_read([A])
    schedulers.session_opened("unix:/a", "a")
    schedulers.session_closed("unix:/a")
    assert not schedulers.is_gone("a")
    schedulers.session_opened("unix:/a", "a2")
    assert schedulers.is_gone("a")
    assert schedulers.may_read(), "although the old one is still listed"


def test_a_live_session_is_never_gone_whatever_the_list_says(schedulers: Schedulers, clock: Clock) -> None:
    schedulers.list_read([A])
    schedulers.session_opened("unix:/a", "a")
    schedulers.list_read([])
    clock.now += 10 * LEASE
    assert not schedulers.is_gone("a")


def test_a_scheduler_known_from_its_entries_only_is_gone_when_never_listed(
    schedulers: Schedulers, clock: Clock
) -> None:
    schedulers.list_read([A])
    assert not schedulers.is_gone("c", "unix:/c")
    schedulers.list_read([A])
    clock.now += LEASE
    assert schedulers.is_gone("c", "unix:/c")
