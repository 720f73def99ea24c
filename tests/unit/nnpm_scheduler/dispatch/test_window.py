"""What is written to Redis, and what waits; counted in requests, moved in blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm_scheduler.dispatch.admission import Admitted
from nnpm_scheduler.dispatch.inflight import Flight, Posted
from nnpm_scheduler.dispatch.sharing import Sharing
from nnpm_scheduler.dispatch.standing import NOBODYS, Priority, Standing
from nnpm_scheduler.dispatch.statistics import BatchFigures
from nnpm_scheduler.dispatch.window import LEAD, MOST_IN_ENTRY, OPEN_PER_REPLICA, Window
from support.front import revision


class _Calls:
    """Of a block, a window needs nothing."""


class Rig:
    """A window, as the dispatch core uses it; by default of a model whose runs take no time worth mentioning."""

    def __init__(self, run: float | None = 1e-6) -> None:
        self.window = Window("r", Sharing())
        self._number = 0
        self.now = 0.0
        if run is not None:
            for _ in range(4):
                self.window.pace.ran(BatchFigures(1, 1, 0, int(run * 1e9), 0))

    def add(self, *counts: int) -> list[Flight]:
        flights = []
        for count in counts:
            calls = _Calls()
            flights.append(Flight(self._number + 1, 0, calls, count, "r", None, 1, 0, 1.0))  # type: ignore[arg-type]
            self._number += count
        for flight in flights:
            self.window.add(flight)
        return flights

    def take(self, ready: int = 1, batch: int = 64) -> list[Posted]:
        entries = self.window.take(ready=ready, batch=batch, now=self.now)
        for entry in entries:
            for flight in entry.flights:
                flight.entry = entry
        return entries

    def lose(self, entry: Posted) -> None:
        for flight in entry.flights:
            flight.suspect = True
        self.give_back(entry)

    def give_back(self, entry: Posted) -> None:
        self.window.returned(entry, sum(flight.live for flight in entry.flights))
        for flight in entry.flights:
            flight.entry = None
        self.window.put_back(entry.flights)

    def answer(self, flight: Flight, count: int | None = None) -> None:
        count = flight.live if count is None else count
        self.window.landed(flight, count, answered=True)
        flight.live -= count
        if not flight.live:
            self.window.forget(flight)


def sizes(entries: list[Posted]) -> list[int]:
    return [sum(flight.live for flight in entry.flights) for entry in entries]


@pytest.mark.parametrize(
    ("blocks", "ready", "batch", "wanted"),
    [
        ([1], 1, 64, [1]),
        ([1] * 100, 1, 64, [64, 36]),
        ([1] * 100, 1, 1_000, [MOST_IN_ENTRY, 36]),
        ([1] * 40, 1, 4, [4] * 10),
        ([1, 1, 1], 1, 1, [1, 1, 1]),
        ([1] * 8, 4, 64, [2, 2, 2, 2]),
        ([1] * 5, 2, 64, [3, 2]),
        ([1] * 5, 0, 64, [5]),
        ([3, 4, 2], 1, 64, [9]),
        ([3, 4, 2], 1, 8, [7, 2]),
        ([8, 1, 8, 1], 1, 8, [8, 1, 8, 1]),
        ([16, 16, 16, 16], 4, 64, [16, 16, 16, 16]),
        ([64, 3], 1, 64, [64, 3]),
    ],
)
def test_what_waits_is_cut_into_entries_by_batch_and_replicas(
    blocks: list[int], ready: int, batch: int, wanted: list[int]
) -> None:
    rig = Rig()
    flights = rig.add(*blocks)
    entries = rig.take(ready, batch)
    assert sizes(entries) == wanted
    assert [flight for entry in entries for flight in entry.flights] == flights


def test_no_more_than_the_window_is_out_and_an_answer_makes_room() -> None:
    rig = Rig()
    flights = rig.add(*[1] * (OPEN_PER_REPLICA + 10))
    assert sum(sizes(rig.take())) == OPEN_PER_REPLICA
    assert rig.take() == []
    for flight in flights[:3]:
        rig.answer(flight)
    assert sizes(rig.take()) == [3]
    assert sizes(rig.take(ready=2)) == [4, 3]


def test_a_block_is_written_whole_when_there_is_room_for_any_of_it() -> None:
    rig = Rig()
    first, second, third = rig.add(OPEN_PER_REPLICA - 1, 64, 1)
    assert [entry.flights for entry in rig.take()] == [[first], [second]]
    rig.answer(first, OPEN_PER_REPLICA - 1)
    rig.answer(second, 10)
    assert [entry.flights for entry in rig.take()] == [[third]]


def test_the_part_of_a_block_that_is_answered_makes_room() -> None:
    rig = Rig()
    (whole,) = rig.add(OPEN_PER_REPLICA)
    rig.take()
    rig.add(5)
    assert rig.take() == []
    rig.answer(whole, 1)
    assert sizes(rig.take()) == [5]


def test_a_block_that_waits_can_be_forgotten() -> None:
    rig = Rig()
    flights = rig.add(1, 2, 1)
    rig.answer(flights[1])
    assert rig.take()[0].flights == [flights[0], flights[2]]
    for flight in (flights[0], flights[2]):
        rig.answer(flight)
    assert not rig.window


def test_what_comes_back_goes_to_the_head_in_its_old_order() -> None:
    rig = Rig()
    first = rig.add(1, 2)
    (entry,) = rig.take()
    later = rig.add(3, 1)
    rig.give_back(entry)
    assert rig.take()[0].flights == [*first, *later]


def test_suspects_go_first_alone_and_one_for_each_replica() -> None:
    rig = Rig()
    suspects = rig.add(1, 1, 1)
    (entry,) = rig.take()
    rig.lose(entry)
    rig.add(1, 1)
    entries = rig.take(ready=2)
    assert [(entry.suspect, entry.flights) for entry in entries[:2]] == [(True, [suspects[0]]), (True, [suspects[1]])]
    assert [entry.suspect for entry in entries[2:]] == [False, False]
    assert rig.take(ready=2) == []
    rig.answer(suspects[0])
    assert [entry.flights for entry in rig.take(ready=2)] == [[suspects[2]]]


def test_a_suspect_that_is_lost_again_makes_room_for_the_next() -> None:
    rig = Rig()
    flights = rig.add(1, 1)
    (entry,) = rig.take()
    rig.lose(entry)
    (alone,) = rig.take()
    assert alone.flights == [flights[0]]
    rig.lose(alone)
    assert rig.take()[0].flights == [flights[0]]
    rig.answer(flights[0])
    assert rig.take()[0].flights == [flights[1]]
    rig.answer(flights[1])
    assert not rig.window


def test_before_the_first_run_two_batches_are_out_for_each_replica() -> None:
    rig = Rig(run=None)
    rig.add(*[1] * 100)
    assert sum(sizes(rig.take(ready=3, batch=4))) == 24


@pytest.mark.parametrize(
    ("batch", "run", "wanted"), [(1, 0.001, 4), (1, 0.0001, 31), (16, 0.002, 40), (64, 0.002, 128)]
)
def test_a_fast_model_is_given_what_it_does_while_the_window_is_refilled(batch: int, run: float, wanted: int) -> None:
    rig = Rig(run=run)
    rig.add(*[1] * 1_000)
    assert sum(sizes(rig.take(batch=batch))) == wanted


@pytest.mark.parametrize(("ready", "batch"), [(1, 1), (1, 16), (3, 1), (3, 16)])
def test_a_slow_run_is_followed_by_what_is_first_in_order_shortly_before_its_end(ready: int, batch: int) -> None:
    rig = Rig(run=0.1)
    rig.add(*[1] * 10 * ready * batch)
    assert sum(sizes(rig.take(ready, batch))) == ready * batch
    assert rig.window.due(rig.now) == pytest.approx(0.1 - LEAD)
    rig.now = 0.1 - LEAD - 0.001
    assert rig.take(ready, batch) == []
    rig.now = 0.1 - LEAD
    assert sum(sizes(rig.take(ready, batch))) == ready * batch
    rig.now = 1.0
    assert (rig.take(ready, batch), rig.window.due(rig.now)) == ([], None)


def test_what_follows_a_run_is_running_itself_when_that_has_ended() -> None:
    rig = Rig(run=0.1)
    rig.add(*[1] * 10)
    (first,) = rig.take(batch=1)
    rig.now = 0.1
    (second,) = rig.take(batch=1)
    rig.answer(first.flights[0])
    assert rig.take(batch=1) == []
    assert rig.window.due(rig.now) == pytest.approx(0.2 - LEAD)
    rig.answer(second.flights[0])
    assert sizes(rig.take(batch=1)) == [1]


@given(st.lists(st.integers(1, 64), max_size=40), st.integers(0, 4), st.integers(1, 64))
def test_blocks_of_any_sizes_leave_in_order_within_the_window_and_the_batch(
    blocks: list[int], ready: int, batch: int
) -> None:
    rig = Rig()
    waiting, left = rig.add(*blocks), []
    while entries := rig.take(ready, batch):
        assert sum(sizes(entries)) < OPEN_PER_REPLICA * max(1, ready) + MOST_IN_ENTRY
        for entry in entries:
            assert len(entry.flights) == 1 or sum(sizes([entry])) <= min(batch, MOST_IN_ENTRY)
            left += entry.flights
        for entry in entries:
            for flight in entry.flights:
                rig.answer(flight)
    assert left == waiting
    assert (rig.window._out, bool(rig.window)) == (0, False)


def test_who_would_be_late_is_told_how_late_by_class_tenant_and_what_is_ahead() -> None:
    rig = Rig(run=0.1)
    to = Admitted(revision(ready=1, batch=1), None)
    rig.add(*[1] * 11)
    rig.take(batch=1)
    assert rig.window.waiting == 10

    def late(standing: Standing, patience: float) -> float:
        return rig.window.too_late(1, to, standing, 1.0, patience)

    assert late(NOBODYS, 1.0) == pytest.approx(1.2)
    assert late(NOBODYS, 1.3) == 0.0
    assert late(Standing(Priority.HIGH), 0.1) == pytest.approx(0.2)
    assert late(Standing(Priority.HIGH), 0.25) == 0.0
    assert late(Standing(tenant="other"), 0.1) == pytest.approx(0.3)


def test_a_turn_that_brings_more_than_can_be_done_is_not_taken_in_whole() -> None:
    rig = Rig(run=0.1)
    to = Admitted(revision(ready=1, batch=1), None)
    rig.add(*[1] * 8)
    assert rig.window.too_late(1, to, NOBODYS, 1.0, 1.0) == 0.0
    rig.add(*[1] * 8)
    assert rig.window.too_late(1, to, NOBODYS, 1.0, 1.0) == pytest.approx(1.7)


def test_nobody_is_late_while_a_replica_is_free_or_none_is_there() -> None:
    rig = Rig(run=0.1)
    assert rig.window.too_late(1, Admitted(revision(ready=1, batch=1), None), NOBODYS, 0.01, 0.01) == 0.0
    rig.add(*[1] * 11)
    rig.take(batch=1)
    assert rig.window.too_late(1, Admitted(revision(ready=0, batch=1), None), NOBODYS, 1.0, 0.1) == 0.0


def test_what_cannot_be_answered_in_time_any_more_costs_no_replica_any_time() -> None:
    rig = Rig(run=0.1)
    rig.add(1)
    running = rig.take(batch=1)
    rig.add(1, 1)
    assert rig.take(batch=1) == []
    rig.now = 0.99  # their deadline is at 1
    rig.answer(running[0].flights[0])
    assert rig.take(batch=1) == []
    assert rig.window.waiting == 0
