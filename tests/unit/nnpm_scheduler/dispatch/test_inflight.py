"""The in-flight table: numbers, nonces, alarms, entries, and blocks that are taken apart."""

import pytest

from nnpm_scheduler.dispatch.admission import Admitted
from nnpm_scheduler.dispatch.calls_aio import AioCalls
from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from support.core import call_of
from support.front import echo_request, revision


def admit(inflight: InFlight, count: int = 1, name: str = "r") -> Flight:
    calls = AioCalls([call_of(echo_request()) for _ in range(count)])
    return inflight.admit(calls, Admitted(revision(name), None), 0, 1.0, None)


def posted(inflight: InFlight, *flights: Flight) -> Posted:
    entry = Posted("r.1", list(flights), suspect=False, at=0.0)
    inflight.post(entry)
    return entry


async def test_numbers_count_calls_and_nonces_are_needed_to_answer() -> None:
    inflight = InFlight()
    first, second, third = admit(inflight, 3), admit(inflight), admit(inflight)
    assert [flight.number for flight in (first, second, third)] == [1, 4, 5]
    assert len({first.nonce, second.nonce, third.nonce}) == 3
    assert inflight.get(1, first.nonce) is first
    assert inflight.get(1, second.nonce) is None
    assert inflight.get(2) is None


async def test_a_finished_block_leaves_nothing() -> None:
    inflight = InFlight()
    flight = admit(inflight, 2)
    inflight.finish(flight)
    assert (len(inflight), inflight.outstanding("r.1"), list(inflight.revisions())) == (0, 0, [])
    assert inflight.get(1, flight.nonce) is None


async def test_what_covers_a_reply_is_the_one_block_and_nothing_beyond() -> None:
    inflight = InFlight()
    flight, neighbour = admit(inflight, 4), admit(inflight)
    assert inflight.covering(1, 1, 3, flight.nonce) == [(flight, 1, 3)]
    assert inflight.covering(1, 0, 4) == [(flight, 0, 4)]
    for offset, count in ((0, 5), (3, 2), (4, 1), (0, 0), (1, 1 << 32)):
        assert inflight.covering(1, offset, count) == []
    assert inflight.covering(1, 0, 4, neighbour.nonce) == []
    assert inflight.covering(5, 0, 2, neighbour.nonce) == [(neighbour, 0, 1)]


async def test_a_block_that_is_taken_apart_is_found_call_by_call() -> None:
    inflight = InFlight()
    flight, neighbour = admit(inflight, 4), admit(inflight)
    entry = posted(inflight, flight, neighbour)
    flight.calls.answer(1, 1, b"", [])
    flight.live -= 1
    assert inflight.take_apart(flight, entry) == 0
    found = inflight.covering(1, 0, 4, flight.nonce)
    assert [(one.number, one.nonce, offset, count) for one, offset, count in found] == [
        (1, flight.nonce, 0, 1),
        (3, flight.nonce, 0, 1),
        (4, flight.nonce, 0, 1),
    ]
    assert [one.number for one, _, _ in inflight.covering(1, 1, 2)] == [3]
    # A reply that reaches beyond its block finds no neighbour, with or without a nonce.
    assert [one.number for one, _, _ in inflight.covering(1, 2, 5)] == [3, 4]
    assert entry.flights == [*(one for one, _, _ in found), neighbour]
    assert (entry.unanswered, inflight.outstanding("r.1"), flight.entry) == (4, 4, None)
    assert inflight.withdraw(entry) == entry.flights


async def test_calls_that_ended_unheard_are_told_when_their_block_is_taken_apart() -> None:
    inflight = InFlight()
    flight = admit(inflight, 3)
    entry = posted(inflight, flight)
    flight.calls.answer(0, 3, b"", [])
    assert inflight.take_apart(flight, entry) == 3
    assert (len(inflight), inflight.entries(), inflight.outstanding("r.1")) == (0, [], 0)


async def test_a_single_call_is_apart_already() -> None:
    inflight = InFlight()
    flight = admit(inflight)
    entry = posted(inflight, flight)
    assert inflight.take_apart(flight, entry) == 0
    assert (inflight.get(1), flight.entry) == (flight, entry)


async def test_an_alarm_rings_once_for_a_block_that_is_unanswered() -> None:
    inflight = InFlight()
    early, late, answered = (admit(inflight) for _ in range(3))
    for flight, at in ((late, 5.0), (early, 2.0), (early, 2.5), (answered, 1.0)):
        inflight.set_alarm(flight, at)
    inflight.finish(answered)
    assert inflight.alarmed(0.5) == []
    assert inflight.alarmed(3.0) == [early]
    assert inflight.alarmed(3.0) == []
    assert inflight.next_alarm() == 5.0


async def test_alarms_of_answered_calls_do_not_pile_up() -> None:
    inflight = InFlight()
    for _ in range(10_000):
        flight = admit(inflight)
        inflight.set_alarm(flight, 60.0)
        inflight.finish(flight)
    assert len(inflight._alarms) < 1_100


async def test_an_entry_is_held_until_its_last_call_is_answered() -> None:
    inflight = InFlight()
    first, second = admit(inflight), admit(inflight, 2)
    entry = posted(inflight, first, second)
    inflight.finish(first)
    assert inflight.holds(entry)
    assert inflight.entries() == [entry]
    inflight.finish(second)
    assert not inflight.holds(entry)


async def test_a_withdrawn_entry_returns_its_unanswered_blocks_only() -> None:
    inflight = InFlight()
    first, second = admit(inflight), admit(inflight)
    entry = posted(inflight, first, second)
    inflight.finish(first)
    assert inflight.withdraw(entry) == [second]
    assert (second.entry, inflight.entries(), inflight.withdraw(entry)) == (None, [], [])


@pytest.mark.parametrize("moved", [0, 1])
async def test_a_block_that_is_in_another_entry_now_stays_there(moved: int) -> None:
    inflight = InFlight()
    flights = [admit(inflight), admit(inflight)]
    before = posted(inflight, *flights)
    inflight.detach(flights[moved])
    after = posted(inflight, flights[moved])
    assert inflight.withdraw(before) == [flights[1 - moved]]
    assert inflight.withdraw(after) == [flights[moved]]


async def test_revisions_are_counted_apart() -> None:
    inflight = InFlight()
    admit(inflight, name="r")
    other = admit(inflight, name="s")
    assert [inflight.outstanding(name) for name in ("r.1", "s.1", "t.1")] == [1, 1, 0]
    assert inflight.of_revision("s.1") == [other]
    assert sorted(inflight.revisions()) == ["r.1", "s.1"]
