"""What is written to Redis, and what waits."""

import pytest

from nnpm_scheduler.dispatch.call import Call
from nnpm_scheduler.dispatch.inflight import Bounds, Flight, InFlight, Posted
from nnpm_scheduler.dispatch.window import MOST_IN_ENTRY, OPEN_PER_REPLICA, Window


class Rig:
    """A window over a table, as the dispatch core uses the two."""

    def __init__(self) -> None:
        self.inflight = InFlight(Bounds(1 << 20, 1 << 20, 10_000))
        self.window = Window("r")

    def add(self, count: int = 1) -> list[Flight]:
        flights = [self.inflight.admit(Call(b"x", None, "a"), "r", None, 0, 1.0) for _ in range(count)]
        for flight in flights:
            self.window.add(flight)
        return flights

    def take(self, ready: int = 1, batch: int = 64) -> list[Posted]:
        entries = self.window.take(ready=ready, batch=batch, now=0.0)
        for entry in entries:
            self.inflight.post(entry)
        return entries

    def lose(self, entry: Posted) -> None:
        flights = self.inflight.withdraw(entry)
        for flight in flights:
            flight.suspect = True
        self.window.withdrawn(entry, len(flights))
        self.window.put_back(flights)

    def answer(self, flight: Flight) -> None:
        self.window.forget(flight)
        self.inflight.finish(flight)


def sizes(entries: list[Posted]) -> list[int]:
    return [len(entry.flights) for entry in entries]


@pytest.mark.parametrize(
    ("requests", "ready", "batch", "wanted"),
    [
        (1, 1, 64, [1]),
        (40, 1, 64, [16, 16, 8]),
        (40, 1, 4, [4] * 10),
        (3, 1, 1, [1, 1, 1]),
        (8, 4, 64, [2, 2, 2, 2]),
        (5, 2, 64, [3, 2]),
        (5, 0, 64, [5]),
    ],
)
def test_a_turn_is_cut_into_entries_by_batch_and_replicas(
    requests: int, ready: int, batch: int, wanted: list[int]
) -> None:
    rig = Rig()
    flights = rig.add(requests)
    entries = rig.take(ready, batch)
    assert sizes(entries) == wanted
    assert [flight for entry in entries for flight in entry.flights] == flights
    assert max(wanted) <= MOST_IN_ENTRY


def test_no_more_than_the_window_is_out_and_an_answer_makes_room() -> None:
    rig = Rig()
    flights = rig.add(OPEN_PER_REPLICA + 10)
    assert sum(sizes(rig.take())) == OPEN_PER_REPLICA
    assert rig.take() == []
    for flight in flights[:3]:
        rig.answer(flight)
    assert sizes(rig.take()) == [3]
    assert sizes(rig.take(ready=2)) == [4, 3]


def test_a_call_that_waits_can_be_forgotten() -> None:
    rig = Rig()
    flights = rig.add(3)
    rig.answer(flights[1])
    assert rig.take()[0].flights == [flights[0], flights[2]]
    for flight in (flights[0], flights[2]):
        rig.answer(flight)
    assert not rig.window


def test_what_comes_back_goes_to_the_head_in_its_old_order() -> None:
    rig = Rig()
    first = rig.add(2)
    (entry,) = rig.take()
    later = rig.add(2)
    rig.window.withdrawn(entry, 2)
    rig.window.put_back(rig.inflight.withdraw(entry))
    assert rig.take()[0].flights == [*first, *later]


def test_suspects_go_first_alone_and_one_for_each_replica() -> None:
    rig = Rig()
    suspects = rig.add(3)
    (entry,) = rig.take()
    rig.lose(entry)
    rig.add(2)
    entries = rig.take(ready=2)
    assert [(entry.suspect, entry.flights) for entry in entries[:2]] == [(True, [suspects[0]]), (True, [suspects[1]])]
    assert [entry.suspect for entry in entries[2:]] == [False, False]
    assert rig.take(ready=2) == []
    rig.answer(suspects[0])
    assert [entry.flights for entry in rig.take(ready=2)] == [[suspects[2]]]


def test_a_suspect_that_is_lost_again_makes_room_for_the_next() -> None:
    rig = Rig()
    flights = rig.add(2)
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
