"""A revision's queue in memory, and its window: the few requests that Redis holds of it.

What waits here can still be cancelled for nothing and reordered later; what is in Redis can be taken by any worker at
once. The window is wide enough to keep the replicas busy while it is refilled.
"""

from collections import OrderedDict
from collections.abc import Iterable

from nnpm_scheduler.dispatch.inflight import Flight, Posted

MOST_IN_ENTRY = 16
"""Requests that one entry may carry."""

OPEN_PER_REPLICA = 128
"""Requests of a revision in Redis for each warm replica: two of the largest default batches."""


class Window:
    """The queue of one revision."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self._waiting: OrderedDict[int, Flight] = OrderedDict()
        self._suspects: OrderedDict[int, Flight] = OrderedDict()
        self._out = 0
        self._suspects_out = 0

    def __bool__(self) -> bool:
        return bool(self._waiting or self._suspects or self._out)

    def add(self, flight: Flight) -> None:
        """At the end of the queue."""
        self._waiting[flight.number] = flight

    def put_back(self, flights: Iterable[Flight]) -> None:
        """At its head: these waited before. A request that a worker died with waits among the suspects."""
        for flight in reversed(list(flights)):
            queue = self._suspects if flight.suspect else self._waiting
            queue[flight.number] = flight
            queue.move_to_end(flight.number, last=False)

    def forget(self, flight: Flight) -> None:
        """It is answered, or nobody waits for it."""
        if flight.entry is None:
            self._waiting.pop(flight.number, None)
            self._suspects.pop(flight.number, None)
        else:
            self._release(flight.entry, 1)

    def withdrawn(self, entry: Posted, flights: int) -> None:
        """So many unanswered requests of an entry are in Redis no more."""
        self._release(entry, flights)

    def take(self, *, ready: int, batch: int, now: float) -> list[Posted]:
        """The entries to write now.

        Suspects come first, each alone, no more than one for each warm replica: a worker runs nothing beside one.
        Requests of one turn are spread over the warm replicas, since the worker that reads an entry takes all of it.
        """
        entries = []
        while self._suspects and self._suspects_out < max(1, ready):
            _, flight = self._suspects.popitem(last=False)
            entries.append(Posted(self.revision, [flight], suspect=True, at=now))
            self._suspects_out += 1
            self._out += 1
        room = OPEN_PER_REPLICA * max(1, ready) - self._out
        count = min(room, len(self._waiting))
        if count <= 0:
            return entries
        share = max(1, min(MOST_IN_ENTRY, batch, -(-count // max(1, ready))))
        while count > 0:
            flights = [self._waiting.popitem(last=False)[1] for _ in range(min(share, count))]
            entries.append(Posted(self.revision, flights, suspect=False, at=now))
            count -= len(flights)
            self._out += len(flights)
        return entries

    def _release(self, entry: Posted, flights: int) -> None:
        self._out -= flights
        if entry.suspect:
            self._suspects_out -= flights
