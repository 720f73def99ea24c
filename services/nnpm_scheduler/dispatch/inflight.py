"""The in-flight table: which calls are unanswered, in blocks, and where each block is. Redis only carries.

A number is counted up within the scheduler's incarnation; the nonce, 64 random bits, is what makes a reply believed.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import SystemRandom

from nnpm.queue.entry import Layout
from nnpm_scheduler.dispatch.admission import Admitted
from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.quotas import Account
from nnpm_scheduler.dispatch.standing import NOBODYS, Standing
from nnpm_scheduler.dispatch.tracing import CallSpan

_MOST_IN_BLOCK = 4_096
"""More requests than any block has."""


@dataclass(slots=True, eq=False)
class Flight:
    """An accepted block of calls. It lies in `entry`, if in any; `live` of its calls are unanswered.

    It is a suspect, then of one call, once a worker died with it in hand; `begun_by` is the worker that was allowed
    to run it so, out of the entry that it lies in. `cost` is the work of one call,
    `accounts` are what it is charged to.
    """

    number: int
    nonce: int
    calls: Calls
    count: int
    revision: str
    layout: Layout | None
    size: int
    admitted_ns: int
    deadline: float
    span: CallSpan | None = None
    suspect: bool = False
    begun_by: str = ""
    entry: "Posted | None" = None
    standing: Standing = NOBODYS
    cost: int = 1
    accounts: Sequence[Account] = ()
    live: int = field(init=False)

    def __post_init__(self) -> None:
        self.live = self.count

    @property
    def work(self) -> int:
        """Of what is unanswered."""
        return self.live * self.cost


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


class InFlight:
    """The table, by blocks. Every method is O(1) or O(log n), and none waits."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}
        self._entries: dict[Posted, None] = {}
        self._by_revision: dict[str, int] = {}
        self._alarms: list[tuple[float, int]] = []
        self._number = 0
        self._nonce = SystemRandom().getrandbits

    def __len__(self) -> int:
        return len(self._flights)

    def admit(self, calls: Calls, to: Admitted, now_ns: int, deadline: float, span: CallSpan | None) -> Flight:
        """Takes a block in, and numbers its calls."""
        number, count, nonce, revision = self._number + 1, len(calls), self._nonce(64), to.route.id
        self._number += count
        flight = Flight(number, nonce, calls, count, revision, to.layout, calls.size, now_ns, deadline, span)
        flight.cost = to.cost
        calls.fly(number, nonce)
        self._flights[number] = flight
        self._count(revision, 1)
        return flight

    def get(self, number: int, nonce: int | None = None) -> Flight | None:
        """The block that begins with that number; None also when a nonce is given and is not the block's."""
        flight = self._flights.get(number)
        return flight if flight is not None and nonce in (None, flight.nonce) else None

    def covering(self, number: int, offset: int, count: int, nonce: int | None = None) -> list[tuple[Flight, int, int]]:
        """Where those requests of a block are now, as (block, offset in it, count): it may have been taken apart.

        Workers choose these figures: what does not belong to the one block is left out.
        """
        if not 0 < count <= _MOST_IN_BLOCK:
            return []
        flight = self._flights.get(number)
        if flight is not None and (flight.count > 1 or offset + count == 1):
            if offset + count <= flight.count and nonce in (None, flight.nonce):
                return [(flight, offset, count)]
            return []
        numbers = range(number + offset, number + offset + count)
        singles = [one for each in numbers if (one := self._flights.get(each)) is not None and one.count == 1]
        if nonce is None and singles:
            nonce = singles[0].nonce
        return [(one, 0, 1) for one in singles if one.nonce == nonce]

    def take_apart(self, flight: Flight, entry: Posted) -> int:
        """Makes one block of each live call of a block in an entry, under its own number.

        Returns how many of its calls have ended without that having been told here: nobody finds them any more.
        """
        if flight.count == 1:
            return 0
        del self._flights[flight.number]
        singles = [one for offset in flight.calls.live() if (one := self._single(flight, offset)) is not None]
        self._count(flight.revision, len(singles) - 1)
        at = entry.flights.index(flight)
        entry.flights[at : at + 1] = singles
        entry.unanswered += len(singles) - 1
        if not entry.unanswered:
            del self._entries[entry]
        flight.entry = None
        return flight.live - len(singles)

    def _single(self, flight: Flight, offset: int) -> Flight | None:
        try:
            calls = flight.calls.single(offset)
        except ValueError:
            return None  # it ended meanwhile: a transport may have a thread of its own
        single = Flight(
            flight.number + offset,
            flight.nonce,
            calls,
            1,
            flight.revision,
            flight.layout,
            calls.size,
            flight.admitted_ns,
            flight.deadline,
            suspect=flight.suspect,
            begun_by=flight.begun_by,
            entry=flight.entry,
            standing=flight.standing,
            cost=flight.cost,
            accounts=flight.accounts,
        )
        self._flights[single.number] = single
        self.set_alarm(single, single.deadline)
        return single

    def finish(self, flight: Flight) -> None:
        """Takes a block out: nobody waits for any of its calls any more."""
        del self._flights[flight.number]
        self._count(flight.revision, -1)
        self.detach(flight)

    def outstanding(self, revision: str) -> int:
        """How many blocks of a revision are unanswered."""
        return self._by_revision.get(revision, 0)

    def of_revision(self, revision: str) -> list[Flight]:
        """The unanswered blocks of a revision."""
        return [flight for flight in self._flights.values() if flight.revision == revision]

    def revisions(self) -> Iterator[str]:
        """Revisions with unanswered calls."""
        return iter(list(self._by_revision))

    def post(self, entry: Posted) -> None:
        """Remembers that these blocks are in a stream entry."""
        self._entries[entry] = None
        for flight in entry.flights:
            flight.entry, flight.begun_by = entry, ""

    def detach(self, flight: Flight) -> None:
        """Forgets that a block is in an entry; an entry without unanswered blocks is forgotten itself."""
        entry, flight.entry = flight.entry, None
        if entry is not None:
            entry.unanswered -= 1
            if not entry.unanswered:
                self._entries.pop(entry, None)

    def withdraw(self, entry: Posted) -> list[Flight]:
        """Forgets an entry, and returns its unanswered blocks, which are in no entry any more."""
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
        """`alarmed` returns the block from `at` on, unless it is answered by then."""
        heapq.heappush(self._alarms, (at, flight.number))
        if len(self._alarms) > 2 * len(self._flights) + 1024:
            # Answered calls leave their alarms behind: a minute of them would outweigh the table.
            self._alarms = [alarm for alarm in self._alarms if alarm[1] in self._flights]
            heapq.heapify(self._alarms)

    def alarmed(self, now: float) -> list[Flight]:
        """The unanswered blocks whose alarm was set to `now` or earlier; each alarm rings once."""
        found: dict[int, Flight] = {}
        while self._alarms and self._alarms[0][0] <= now:
            number = heapq.heappop(self._alarms)[1]
            flight = self._flights.get(number)
            if flight is not None:
                found[number] = flight
        return list(found.values())

    def next_alarm(self) -> float | None:
        """When `alarmed` may find something again."""
        return self._alarms[0][0] if self._alarms else None

    def _count(self, revision: str, blocks: int) -> None:
        left = self._by_revision.get(revision, 0) + blocks
        if left:
            self._by_revision[revision] = left
        else:
            self._by_revision.pop(revision, None)
