"""A revision's window: the few requests that Redis holds of it. The others wait here, in their order.

What waits here can still be cancelled for nothing and overtaken; what is in Redis can be taken by any worker at once.
The window is wide enough to keep the replicas busy while it is refilled, and no wider: a long run's successor is let
out shortly before the run ends. Everything is counted in requests, and moved in blocks.
"""

from collections import OrderedDict
from collections.abc import Iterable

from nnpm_scheduler.dispatch.admission import Admitted
from nnpm_scheduler.dispatch.inflight import Flight, Posted
from nnpm_scheduler.dispatch.order import Order
from nnpm_scheduler.dispatch.pace import Pace
from nnpm_scheduler.dispatch.sharing import Sharing
from nnpm_scheduler.dispatch.standing import Standing
from nnpm_scheduler.dispatch.turnaround import Turnaround

MOST_IN_ENTRY = 64
"""Requests that one entry may carry: one batch by default."""

OPEN_PER_REPLICA = 128
"""Requests of a revision in Redis for each warm replica: two of the largest default batches."""

LEAD = 0.003
"""Seconds that it takes at most to refill the window: from a reply's arrival until a worker has read the next entry."""


def share_of(requests: int, *, ready: int, batch: int) -> int:
    """How many of a turn's requests go into one entry: the worker that reads an entry takes all of it."""
    return max(1, min(MOST_IN_ENTRY, batch, -(-requests // max(1, ready))))


class Window:
    """What waits of one revision, and how much of it is out.

    Args:
        revision: its id.
        sharing: among tenants and classes.
    """

    def __init__(self, revision: str, sharing: Sharing) -> None:
        self.revision = revision
        self.pace = Pace()
        self._order = Order(sharing.weight_of, sharing.ageing)
        # What came since the last look: as a rule it leaves at once, and needs no order.
        self._fresh: list[Flight] = []
        self._fresh_requests = 0
        self._suspects: OrderedDict[int, Flight] = OrderedDict()
        self._waited = False
        self._out = 0
        self._suspects_out = 0
        # Entries that are being run, supposedly, by when that began; and those behind them.
        self._running: dict[Posted, float] = {}
        self._behind: dict[Posted, None] = {}
        # Those that were answered since the last look: when they supposedly began, and how long their run took.
        self._ended: list[tuple[float, float]] = []
        self.turn = Turnaround()

    def __bool__(self) -> bool:
        return bool(self._fresh or self._order.requests or self._suspects or self._out)

    @property
    def waiting(self) -> int:
        """Requests that there was no room for."""
        return self._order.requests

    def add(self, flight: Flight) -> None:
        """It waits."""
        self._fresh.append(flight)
        self._fresh_requests += flight.live

    def put_back(self, flights: Iterable[Flight]) -> None:
        """Ahead of others of their standing: these waited before. A request that a worker died with is a suspect."""
        self._settle()
        returned = list(flights)
        self._order.put_back([flight for flight in returned if not flight.suspect])
        for flight in reversed(returned):
            if flight.suspect:
                self._suspects[flight.number] = flight
                self._suspects.move_to_end(flight.number, last=False)

    def forget(self, flight: Flight) -> None:
        """Nobody waits for any of it."""
        if flight.entry is None:
            self._settle()
            self._order.forget(flight)
            self._suspects.pop(flight.number, None)

    def landed(self, flight: Flight, calls: int, *, answered: bool) -> None:
        """So many calls of a block are answered, or given up; they are still counted in it."""
        if flight.entry is None:
            self._settle()
            self._order.shrink(flight, calls)
            return
        if answered:
            self.pace.work += calls * flight.cost
            if self.pace.run > LEAD and (since := self._running.get(flight.entry)) is not None:
                self._ended.append((since, self.pace.last))
        self.returned(flight.entry, calls)

    def returned(self, entry: Posted, requests: int) -> None:
        """So many requests of an entry are answered, or in Redis no more."""
        self._out -= requests
        if self._running.pop(entry, None) is None:
            self._behind.pop(entry, None)
        if entry.suspect:
            self._suspects_out -= requests

    def take(self, *, ready: int, batch: int, now: float) -> list[Posted]:
        """The entries to write now. Suspects come first, each alone, no more than one for each warm replica."""
        ready = ready or 1
        if self._ended:
            ended, self._ended = self._ended, []
            self.turn.ended(ended, now, ready, self.pace.run, waited=self._waited)
        if not (self._fresh or self._waited or self._behind or self._order.requests or self._suspects):
            return []
        entries = self._take_suspects(ready, now) if self._suspects else []
        while self._behind and len(self._running) < ready:
            follower = next(iter(self._behind))
            del self._behind[follower]
            self._running[follower] = now
        room = self._room(ready, batch, now)
        waiting = self._fresh
        if self._waited or self._order.requests or self._fresh_requests > room:
            self._settle()
            entries += self._take_in_order(ready, batch, room, now)
            self._waited = self._order.requests > 0
            self.pace.look(now, waiting=self._waited)
        elif waiting:
            self._fresh, self._fresh_requests = [], 0
            entries += self._take_all(waiting, ready, batch, now)
        return entries

    def too_late(self, calls: int, to: Admitted, standing: Standing, deadline: float, patience: float) -> float:
        """Seconds until such calls would be answered, if that is more than their clients' patience; else 0.

        While replicas are free, or nothing is known yet, nobody comes too late.
        """
        ready, batch = to.route.ready, to.route.batch
        around = self._out + self._fresh_requests + calls
        if not self._order.requests and around <= ready * batch:
            return 0.0
        rate = self.pace.rate(ready, batch) if self._order.requests else self.pace.at_best(ready, batch)
        if around * to.cost + self._order.work <= rate * patience or not rate:
            return 0.0
        self._settle()
        work = calls * to.cost
        seconds = (self._order.ahead(standing, deadline, work, rate) + work + self._out * to.cost) / rate
        return seconds if seconds > patience else 0.0

    def due(self, now: float) -> float | None:
        """When `take` may find more room though nothing has returned; None when it does not depend on time."""
        if self.pace.run <= LEAD:
            return None
        ahead = max(self.pace.run, self.turn.seconds) - LEAD
        return next((since + ahead for since in self._running.values() if since + ahead > now), None)

    def _room(self, ready: int, batch: int, now: float) -> int:
        """How many requests may be let out.

        Beyond what the replicas run: as much as they get done while the window is refilled, a batch at least. Where a
        run takes longer than that, only for those that are about to end.
        """
        run = self.pace.run
        if run > LEAD:
            turn = max(run, self.turn.seconds)
            ending = sum([1 for since in self._running.values() if since + turn - LEAD <= now])
            return batch * (round(min(ready, self.turn.open)) + ending) - self._out
        within_lead = int(batch * LEAD / run) if run else batch
        return ready * max(2 * batch, min(OPEN_PER_REPLICA, batch + within_lead)) - self._out

    def _settle(self) -> None:
        for flight in self._fresh:
            self._order.add(flight)
        self._fresh, self._fresh_requests = [], 0

    def _take_all(self, waiting: list[Flight], ready: int, batch: int, now: float) -> list[Posted]:
        requests = sum([flight.live for flight in waiting])
        share = share_of(requests, ready=ready, batch=batch)
        if requests <= share:
            return [self._entry(waiting, requests, now, ready)]
        entries: list[Posted] = []
        flights: list[Flight] = []
        requests = 0
        for flight in waiting:
            if flights and requests + flight.live > share:
                entries.append(self._entry(flights, requests, now, ready))
                flights, requests = [], 0
            flights.append(flight)
            requests += flight.live
        entries.append(self._entry(flights, requests, now, ready))
        return entries

    def _take_in_order(self, ready: int, batch: int, room: int, now: float) -> list[Posted]:
        order = self._order
        entries: list[Posted] = []
        hopeless = now + self.pace.run / 2
        share = share_of(order.requests, ready=ready, batch=batch)
        while order.requests and room > 0:
            share = min(share, room)
            flights: list[Flight] = []
            requests = 0
            while order.requests:
                head = order.head(now)
                if flights and requests + head.flight.live > share:
                    break
                order.pop(head)
                if head.flight.deadline < hopeless:
                    continue  # it ends by its alarm, and costs no replica any time
                flights.append(head.flight)
                requests += head.flight.live
            if flights:
                entries.append(self._entry(flights, requests, now, ready))
            room -= requests
        return entries

    def _entry(self, flights: list[Flight], requests: int, now: float, ready: int) -> Posted:
        entry = Posted(self.revision, flights, suspect=False, at=now)
        self._out += requests
        if len(self._running) < ready:
            self._running[entry] = now
        else:
            self._behind[entry] = None
        return entry

    def _take_suspects(self, ready: int, now: float) -> list[Posted]:
        """A worker runs nothing beside one."""
        entries = []
        while self._suspects and self._suspects_out < ready:
            _, flight = self._suspects.popitem(last=False)
            entries.append(Posted(self.revision, [flight], suspect=True, at=now))
            self._suspects_out += 1
            self._out += 1
        return entries
