"""A revision's queue in memory, and its window: the few requests that Redis holds of it.

What waits here can still be cancelled for nothing and reordered later; what is in Redis can be taken by any worker at
once. The window is wide enough to keep the replicas busy while it is refilled. Everything is counted in requests, and
moved in blocks.
"""

from collections import OrderedDict
from collections.abc import Iterable

from nnpm_scheduler.dispatch.inflight import Flight, Posted

MOST_IN_ENTRY = 64
"""Requests that one entry may carry: one batch by default."""

OPEN_PER_REPLICA = 128
"""Requests of a revision in Redis for each warm replica: two of the largest default batches."""


def share_of(requests: int, *, ready: int, batch: int) -> int:
    """How many of a turn's requests go into one entry: the worker that reads an entry takes all of it."""
    return max(1, min(MOST_IN_ENTRY, batch, -(-requests // max(1, ready))))


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
        """Nobody waits for any of it."""
        if flight.entry is None:
            self._waiting.pop(flight.number, None)
            self._suspects.pop(flight.number, None)

    def returned(self, entry: Posted, requests: int) -> None:
        """So many requests of an entry are answered, or in Redis no more."""
        self._out -= requests
        if entry.suspect:
            self._suspects_out -= requests

    def take(self, *, ready: int, batch: int, now: float) -> list[Posted]:
        """The entries to write now. Suspects come first, each alone, no more than one for each warm replica."""
        entries = self._take_suspects(ready, now) if self._suspects else []
        room = OPEN_PER_REPLICA * max(1, ready) - self._out
        if room <= 0 or not self._waiting:
            return entries
        waiting = self._waiting
        share = share_of(self._ahead(room), ready=ready, batch=batch)
        while waiting and room > 0:
            flights: list[Flight] = []
            requests = 0
            while waiting:
                flight = next(iter(waiting.values()))
                if flights and requests + flight.live > share:
                    break
                waiting.popitem(last=False)
                flights.append(flight)
                requests += flight.live
            entries.append(Posted(self.revision, flights, suspect=False, at=now))
            room -= requests
            self._out += requests
        return entries

    def _ahead(self, room: int) -> int:
        """Requests that wait, as far as there is room for them: the queue may be long."""
        requests = 0
        for flight in self._waiting.values():
            requests += flight.live
            if requests >= room:
                return room
        return requests

    def _take_suspects(self, ready: int, now: float) -> list[Posted]:
        """A worker runs nothing beside one."""
        entries = []
        while self._suspects and self._suspects_out < max(1, ready):
            _, flight = self._suspects.popitem(last=False)
            entries.append(Posted(self.revision, [flight], suspect=True, at=now))
            self._suspects_out += 1
            self._out += 1
        return entries
