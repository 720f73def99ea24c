"""The in-flight table: which calls are unanswered, and where each of them is. It is the truth; Redis only carries.

A number is counted up within the scheduler's incarnation; the nonce, 64 random bits, is what makes a reply believed.
The memory of what waits is bounded, in all and for each connection.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import SystemRandom

from nnpm.errors import ResourceExhausted
from nnpm.queue.entry import Layout
from nnpm_scheduler.dispatch.call import Call


@dataclass(slots=True, eq=False)
class Flight:
    """An accepted call. It lies in `entry`, if in any.

    It is a suspect once a worker died with it in hand; `begun_by` is the worker that last was allowed to run it so.
    """

    number: int
    nonce: int
    call: Call
    revision: str
    layout: Layout | None
    size: int
    admitted_ns: int
    deadline: float
    suspect: bool = False
    begun_by: str = ""
    entry: "Posted | None" = None


@dataclass(slots=True, eq=False)
class Posted:
    """A stream entry, written or being written. `id` is empty until Redis has told it."""

    revision: str
    flights: list[Flight]
    suspect: bool
    at: float
    id: bytes = b""
    unanswered: int = field(init=False)

    def __post_init__(self) -> None:
        self.unanswered = len(self.flights)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be in flight: bytes of bodies in all and from one connection, and calls."""

    total_bytes: int
    source_bytes: int
    calls: int


class InFlight:
    """The table. Every method is O(1) or O(log n), and none waits."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._flights: dict[int, Flight] = {}
        self._entries: dict[Posted, None] = {}
        self._by_source: dict[str, int] = {}
        self._by_revision: dict[str, int] = {}
        self._alarms: list[tuple[float, int]] = []
        self._number = 0
        self._bytes = 0
        self._nonce = SystemRandom().getrandbits

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def bytes(self) -> int:
        """Size of all bodies held."""
        return self._bytes

    def admit(self, call: Call, revision: str, layout: Layout | None, admitted_ns: int, deadline: float) -> Flight:
        """Takes a call in. Raises ResourceExhausted TOO_MUCH_IN_FLIGHT at a bound."""
        size = len(call.body)
        from_source = self._by_source.get(call.source, 0) + size
        self._check_bounds(size, from_source)
        self._number += 1
        flight = Flight(self._number, self._nonce(64), call, revision, layout, size, admitted_ns, deadline)
        call.number = flight.number
        self._flights[flight.number] = flight
        self._by_source[call.source] = from_source
        self._by_revision[revision] = self._by_revision.get(revision, 0) + 1
        self._bytes += size
        return flight

    def get(self, number: int, nonce: int | None = None) -> Flight | None:
        """The unanswered call of that number; None also when a nonce is given and is not the call's."""
        flight = self._flights.get(number)
        return flight if flight is not None and nonce in (None, flight.nonce) else None

    def finish(self, flight: Flight) -> None:
        """Takes a call out: it is answered, or nobody waits for it any more."""
        del self._flights[flight.number]
        self._bytes -= flight.size
        source = flight.call.source
        self._by_source[source] -= flight.size
        if not self._by_source[source]:
            del self._by_source[source]
        self._by_revision[flight.revision] -= 1
        if not self._by_revision[flight.revision]:
            del self._by_revision[flight.revision]
        flight.call.body = b""
        self.detach(flight)

    def outstanding(self, revision: str) -> int:
        """How many calls of a revision are unanswered."""
        return self._by_revision.get(revision, 0)

    def of_revision(self, revision: str) -> list[Flight]:
        """The unanswered calls of a revision."""
        return [flight for flight in self._flights.values() if flight.revision == revision]

    def revisions(self) -> Iterator[str]:
        """Revisions with unanswered calls."""
        return iter(list(self._by_revision))

    def post(self, entry: Posted) -> None:
        """Remembers that these calls are in a stream entry."""
        self._entries[entry] = None
        for flight in entry.flights:
            flight.entry = entry

    def detach(self, flight: Flight) -> None:
        """Forgets that a call is in an entry; an entry without unanswered calls is forgotten itself."""
        entry, flight.entry = flight.entry, None
        if entry is not None:
            entry.unanswered -= 1
            if not entry.unanswered:
                self._entries.pop(entry, None)

    def withdraw(self, entry: Posted) -> list[Flight]:
        """Forgets an entry, and returns its unanswered calls, which are in no entry any more."""
        flights = [flight for flight in entry.flights if flight.entry is entry]
        for flight in flights:
            self.detach(flight)
        return flights

    def holds(self, entry: Posted) -> bool:
        """Whether the entry still has unanswered calls."""
        return entry in self._entries

    def entries(self) -> list[Posted]:
        """The entries with unanswered calls, oldest first."""
        return list(self._entries)

    def set_alarm(self, flight: Flight, at: float) -> None:
        """`alarmed` returns the call from `at` on, unless it is answered by then."""
        heapq.heappush(self._alarms, (at, flight.number))
        if len(self._alarms) > 2 * len(self._flights) + 1024:
            # Answered calls leave their alarms behind: a minute of them would outweigh the table.
            self._alarms = [alarm for alarm in self._alarms if alarm[1] in self._flights]
            heapq.heapify(self._alarms)

    def alarmed(self, now: float) -> list[Flight]:
        """The unanswered calls whose alarm was set to `now` or earlier; each alarm rings once."""
        found = []
        while self._alarms and self._alarms[0][0] <= now:
            flight = self._flights.get(heapq.heappop(self._alarms)[1])
            if flight is not None:
                found.append(flight)
        return found

    def next_alarm(self) -> float | None:
        """When `alarmed` may find something again."""
        return self._alarms[0][0] if self._alarms else None

    def _check_bounds(self, size: int, from_source: int) -> None:
        bounds = self._bounds
        if len(self._flights) >= bounds.calls:
            what, limit = "calls", bounds.calls
        elif self._bytes + size > bounds.total_bytes:
            what, limit = "bytes of requests", bounds.total_bytes
        elif from_source > bounds.source_bytes:
            what, limit = "bytes of requests from this connection", bounds.source_bytes
        else:
            return
        raise ResourceExhausted(
            "TOO_MUCH_IN_FLIGHT",
            f"the scheduler already holds as many {what} as it may ({limit})",
            hint="send fewer at a time, or retry a little later",
            retry_after=0.1,
        )
