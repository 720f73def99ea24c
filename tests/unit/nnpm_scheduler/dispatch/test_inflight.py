"""The in-flight table: numbers, nonces, bounds, alarms, entries."""

import pytest

from nnpm.errors import ResourceExhausted
from nnpm_scheduler.dispatch.call import Call
from nnpm_scheduler.dispatch.inflight import Bounds, Flight, InFlight, Posted


def table(total: int = 1_000, source: int = 1_000, calls: int = 100) -> InFlight:
    return InFlight(Bounds(total, source, calls))


def admit(inflight: InFlight, size: int = 10, source: str = "a", revision: str = "r") -> Flight:
    return inflight.admit(Call(bytes(size), None, source), revision, None, 0, 1.0)


def posted(*flights: Flight) -> Posted:
    return Posted("r", list(flights), suspect=False, at=0.0)


def test_numbers_count_up_and_nonces_are_needed_to_answer() -> None:
    inflight = table()
    first, second = admit(inflight), admit(inflight)
    assert (first.number, second.number) == (1, 2)
    assert first.nonce != second.nonce
    assert inflight.get(1, first.nonce) is first
    assert inflight.get(1, second.nonce) is None
    assert inflight.get(3) is None


def test_a_finished_call_gives_everything_back() -> None:
    inflight = table()
    flight = admit(inflight)
    inflight.finish(flight)
    assert (len(inflight), inflight.bytes, inflight.outstanding("r"), flight.call.body) == (0, 0, 0, b"")
    assert inflight.get(1, flight.nonce) is None


@pytest.mark.parametrize(
    ("bounds", "says"),
    [({"total": 25}, "bytes of requests"), ({"source": 25}, "from this connection"), ({"calls": 2}, "calls")],
)
def test_each_bound_refuses_the_call_that_would_pass_it(bounds: dict[str, int], says: str) -> None:
    inflight = table(**bounds)
    first = admit(inflight)
    admit(inflight)
    with pytest.raises(ResourceExhausted, match=says) as refused:
        admit(inflight)
    assert refused.value.retry_after
    inflight.finish(first)
    admit(inflight)


def test_a_connection_has_its_own_bound() -> None:
    inflight = table(source=25)
    for source in ("a", "a", "b", "b"):
        admit(inflight, source=source)
    assert len(inflight) == 4


def test_an_alarm_rings_once_for_a_call_that_is_unanswered() -> None:
    inflight = table()
    early, late, answered = (admit(inflight) for _ in range(3))
    for flight, at in ((late, 5.0), (early, 2.0), (answered, 1.0)):
        inflight.set_alarm(flight, at)
    inflight.finish(answered)
    assert inflight.alarmed(0.5) == []
    assert inflight.alarmed(3.0) == [early]
    assert inflight.alarmed(3.0) == []
    assert inflight.next_alarm() == 5.0


def test_alarms_of_answered_calls_do_not_pile_up() -> None:
    inflight = table()
    for _ in range(10_000):
        flight = admit(inflight)
        inflight.set_alarm(flight, 60.0)
        inflight.finish(flight)
    assert len(inflight._alarms) < 1_100


def test_an_entry_is_held_until_its_last_call_is_answered() -> None:
    inflight = table()
    first, second = admit(inflight), admit(inflight)
    entry = posted(first, second)
    inflight.post(entry)
    inflight.finish(first)
    assert inflight.holds(entry)
    assert inflight.entries() == [entry]
    inflight.finish(second)
    assert not inflight.holds(entry)


def test_a_withdrawn_entry_returns_its_unanswered_calls_only() -> None:
    inflight = table()
    first, second = admit(inflight), admit(inflight)
    entry = posted(first, second)
    inflight.post(entry)
    inflight.finish(first)
    assert inflight.withdraw(entry) == [second]
    assert (second.entry, inflight.entries(), inflight.withdraw(entry)) == (None, [], [])


def test_revisions_are_counted_apart() -> None:
    inflight = table()
    admit(inflight, revision="r")
    other = admit(inflight, revision="s")
    assert (inflight.outstanding("r"), inflight.outstanding("s"), inflight.outstanding("t")) == (1, 1, 0)
    assert inflight.of_revision("s") == [other]
    assert sorted(inflight.revisions()) == ["r", "s"]
