"""The order in which what waits for a revision leaves: by class, then fairly among tenants, then by deadline.

- Classes are strict: what is urgent goes first. But a class that has waited for as long as the ageing time gets every
  tenth place, so that it still moves.
- Within a class tenants share by weight (start-time fair queueing, Goyal, Vin, Cheng 1996): each has a virtual time
  that grows with the work done for it, and the one that is furthest behind is next.
- A tenant's blocks lie in lanes by their time-out, to a factor of two. In a lane the order of arrival is that of the
  deadlines but for that factor; among lanes the one with the earliest deadline at its head goes first.

All is counted in work (requests times what one costs), and moved in blocks. A step costs O(1) in one tenant's blocks,
O(log n) among n tenants.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import frexp
from typing import NamedTuple

from nnpm_scheduler.dispatch.inflight import Flight
from nnpm_scheduler.dispatch.standing import Priority, Standing

AGED_PLACE = 10
"""Of so many places one goes to a class that has waited for the ageing time."""

_MOST_IDLE = 1_024
"""Tenants without waiting blocks whose virtual time is kept: clients choose the names, so there may be any number."""


class Lane:
    """Blocks of one tenant whose time-outs are alike, in the order of arrival."""

    __slots__ = ("blocks", "work")

    def __init__(self) -> None:
        self.blocks: OrderedDict[int, Flight] = OrderedDict()
        self.work = 0

    def ahead(self, deadline: float) -> float:
        """Work whose deadline comes before that one, supposing that it is spread evenly."""
        if not self.blocks:
            return 0.0
        first, last = next(iter(self.blocks.values())).deadline, next(reversed(self.blocks.values())).deadline
        if not first < deadline < last:
            return self.work if deadline >= last else 0.0
        return self.work * (deadline - first) / (last - first)


class Line:
    """What waits of one tenant in one class. `start` is its virtual time."""

    __slots__ = ("lanes", "start", "tenant", "weight", "work")

    def __init__(self, tenant: str, weight: float, start: float) -> None:
        self.tenant = tenant
        self.weight = weight
        self.start = start
        self.lanes: dict[int, Lane] = {}
        self.work = 0

    def add(self, flight: Flight, *, first: bool = False) -> None:
        """At the end of its lane, or at the head."""
        lane = self.lanes.get(index := _lane_of(flight))
        if lane is None:
            lane = self.lanes[index] = Lane()
        lane.blocks[flight.number] = flight
        if first:
            lane.blocks.move_to_end(flight.number, last=False)
        lane.work += flight.work
        self.work += flight.work

    def head(self) -> Flight:
        """The next block; there is one."""
        heads = [next(iter(lane.blocks.values())) for lane in self.lanes.values() if lane.blocks]
        return heads[0] if len(heads) == 1 else min(heads, key=_deadline)

    def remove(self, flight: Flight) -> int:
        """Takes a block out; returns its work, 0 when it is not here."""
        lane = self.lanes.get(_lane_of(flight))
        if lane is None or lane.blocks.pop(flight.number, None) is None:
            return 0
        return self._lighten(lane, flight.work)

    def shrink(self, flight: Flight, work: int) -> int:
        """So much of a block is wanted no more; returns it, 0 when the block is not here."""
        lane = self.lanes.get(_lane_of(flight))
        return 0 if lane is None or flight.number not in lane.blocks else self._lighten(lane, work)

    def ahead(self, deadline: float) -> float:
        """Work that leaves before a block with that deadline."""
        return sum([lane.ahead(deadline) for lane in self.lanes.values()])

    def _lighten(self, lane: Lane, work: int) -> int:
        lane.work -= work
        self.work -= work
        return work


class Class:
    """What waits in one class, by tenant. `passed_over` is the work of higher classes that left meanwhile."""

    def __init__(self, weight_of: Callable[[str], float]) -> None:
        self._weight_of = weight_of
        self._lines: dict[str, Line] = {}
        self._heap: list[tuple[float, int, Line]] = []
        self._idle: dict[str, float] = {}
        self._virtual = 0.0
        self._weights = 0.0
        self._count = 0
        self.work = 0
        self.since = 0.0
        """From when on there has always been something waiting."""
        self.passed_over = 0

    def add(self, flight: Flight, *, first: bool = False) -> None:
        """Behind its tenant's other blocks, or at their head."""
        if not self.work:
            self.since, self.passed_over = flight.admitted_ns / 1e9, 0
        line = self._lines.get(flight.standing.tenant)
        if line is None:
            line = self._open(flight.standing.tenant)
        line.add(flight, first=first)
        self.work += flight.work

    def head(self) -> tuple[Line, Flight]:
        """The block that is next; there is one."""
        while not (line := self._heap[0][2]).work:
            self._close(line)
        return line, line.head()

    def pop(self, line: Line, flight: Flight) -> None:
        """Takes the head out."""
        work = flight.work
        self._virtual = line.start
        line.start += work / line.weight
        line.remove(flight)
        self.work -= work
        if line.work:
            heapq.heapreplace(self._heap, (line.start, self._next(), line))
        else:
            self._close(line)
        if not self.work:
            self.rest()

    def remove(self, flight: Flight) -> None:
        """Takes a block out that nobody waits for."""
        line = self._lines.get(flight.standing.tenant)
        if line is not None:
            self.work -= line.remove(flight)

    def shrink(self, flight: Flight, work: int) -> None:
        """So much of a block is wanted no more."""
        line = self._lines.get(flight.standing.tenant)
        if line is not None:
            self.work -= line.shrink(flight, work)

    def ahead(self, tenant: str, deadline: float, work: int) -> float:
        """Work that leaves before so much of that tenant's with that deadline has left, if nothing else comes."""
        line = self._lines.get(tenant)
        if line is None:
            own, others, weight = 0.0, float(self.work), self._weight_of(tenant)
            weights = self._weights
        else:
            own, others, weight = line.ahead(deadline), float(self.work - line.work), line.weight
            weights = self._weights - weight
        return own + min(others, (own + work) * weights / weight)

    def _open(self, tenant: str) -> Line:
        line = Line(tenant, self._weight_of(tenant), max(self._virtual, self._idle.pop(tenant, 0.0)))
        self._lines[tenant] = line
        self._weights += line.weight
        heapq.heappush(self._heap, (line.start, self._next(), line))
        return line

    def _close(self, line: Line) -> None:
        """The line is empty, and first in the heap. What it had beyond its share is remembered."""
        heapq.heappop(self._heap)
        del self._lines[line.tenant]
        self._weights -= line.weight
        self._idle[line.tenant] = line.start
        if len(self._idle) > _MOST_IDLE:
            del self._idle[next(iter(self._idle))]

    def rest(self) -> None:
        """Nothing waits: nobody is behind anybody."""
        self._lines.clear()
        self._heap.clear()
        self._idle.clear()
        self._virtual = self._weights = 0.0

    def _next(self) -> int:
        self._count += 1
        return self._count


class Head(NamedTuple):
    """The block that is next, and where it lies."""

    of: Class
    line: Line
    flight: Flight
    aged: bool


class Order:
    """What waits for one revision.

    Args:
        weight_of: a tenant's share is in proportion to it; more than 0.
        ageing: seconds.
    """

    def __init__(self, weight_of: Callable[[str], float], ageing: float) -> None:
        self._classes = tuple([Class(weight_of) for _ in Priority])
        self._ageing = ageing
        self.requests = 0
        """In all blocks."""

    def add(self, flight: Flight) -> None:
        """A block that is new."""
        self._classes[flight.standing.priority].add(flight)
        self.requests += flight.live

    def put_back(self, flights: Iterable[Flight]) -> None:
        """Blocks that had left already, at the head of their tenant's."""
        for flight in reversed(list(flights)):
            self._classes[flight.standing.priority].add(flight, first=True)
            self.requests += flight.live

    def forget(self, flight: Flight) -> None:
        """Nobody waits for it; it may have left already."""
        self._lighten(flight, lambda of: of.remove(flight))

    def shrink(self, flight: Flight, calls: int) -> None:
        """Nobody waits for so many of its calls; it may have left already."""
        self._lighten(flight, lambda of: of.shrink(flight, calls * flight.cost))

    def head(self, now: float) -> Head:
        """The block that is next; there is one."""
        waiting = [of for of in self._classes if of.work]
        for lower in waiting[1:]:
            if lower.passed_over >= AGED_PLACE - 1 and now - lower.since >= self._ageing:
                return Head(lower, *lower.head(), aged=True)
        return Head(waiting[0], *waiting[0].head(), aged=False)

    def pop(self, head: Head) -> None:
        """Takes out what `head` has just told."""
        work = head.flight.work
        head.of.pop(head.line, head.flight)
        self.requests -= head.flight.live
        head.of.passed_over = head.of.passed_over - (AGED_PLACE - 1) * work if head.aged else 0
        for lower in self._classes[head.flight.standing.priority + 1 :]:
            lower.passed_over = min(AGED_PLACE - 1, lower.passed_over + work)

    @property
    def work(self) -> int:
        """In all blocks."""
        return sum([of.work for of in self._classes])

    def ahead(self, standing: Standing, deadline: float, work: int, rate: float) -> float:
        """Work that leaves before so much of that standing and deadline has left, if so much leaves in a second."""
        higher = sum([of.work for of in self._classes[: standing.priority]])
        within = self._classes[standing.priority].ahead(standing.tenant, deadline, work)
        aged = self._ageing * rate + (AGED_PLACE - 1) * (within + work)
        return within + min(higher, aged)

    def _lighten(self, flight: Flight, take: Callable[[Class], None]) -> None:
        of = self._classes[flight.standing.priority]
        before = of.work
        take(of)
        self.requests -= (before - of.work) // flight.cost
        if not of.work:
            of.rest()


def _lane_of(flight: Flight) -> int:
    """Time-outs between two powers of two share a lane."""
    return frexp(flight.deadline - flight.admitted_ns / 1e9)[1]


def _deadline(flight: Flight) -> float:
    return flight.deadline
