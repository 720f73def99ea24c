"""The dispatch core: blocks of calls in, answers out, once an event-loop turn.

It decides and remembers; it does no input or output of its own. A transport hands it blocks, the stream tells it what
became of entries, workers' replies and control's hints come in as plain calls. Everything runs on one event loop, so
that nothing here is locked, and nothing waits.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnpm.errors import DeadlineExceeded, Internal, NnpmError, Unavailable
from nnpm.rpc.status import from_bytes
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.admission import Admission, Admitted
from nnpm_scheduler.dispatch.alarms import Alarms
from nnpm_scheduler.dispatch.audit import Workers
from nnpm_scheduler.dispatch.call import Calls, Raw
from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.refusals import (
    claim_not_found,
    past_deadline,
    poison,
    queue_unavailable,
    refuse,
    revision_retired,
    stopping,
)
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.statistics import BatchFigures
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallSpan, CallTracer
from nnpm_scheduler.dispatch.window import Window, share_of

STREAM_KEPT = 30.0
"""Seconds that a retired revision's stream is kept for workers that still look at it."""

PUT_BACK = frozenset({"WORKER_STOPPING"})
"""A worker answers so when it hands requests back that it has not begun: another worker gets them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a call without a deadline may take; bytes above which a request travels alone."""

    timeout: float
    alone_above: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer to `count` requests of a block from `offset` on: see `Reply` in worker.proto.

    `status` is a serialised google.rpc.Status, empty where they succeeded.
    """

    number: int
    nonce: int
    offset: int
    count: int
    head: bytes
    raw: Raw
    status: bytes = b""

    def raw_of(self, first: int, count: int) -> Raw:
        """What `raw` says of `count` of the requests."""
        if count == self.count:
            return self.raw
        strides = [len(data) // self.count for data in self.raw]
        return [data[first * n : (first + count) * n] for data, n in zip(self.raw, strides, strict=True)]


Landed = tuple[int, int, int, int, bytes]
"""What became of a reply: number and offset and count as in it, how many calls it answered, its status if it is one."""


class Dispatch:
    """Every accepted call is answered once: by a worker's reply, or with a status.

    `connect` completes it before the first call.
    """

    _stream: Stream
    _workers: Workers

    def __init__(self, routes: Routes, inflight: InFlight, meter: Meter, tracer: CallTracer, limits: Limits) -> None:
        self._routes = routes
        self._inflight = inflight
        self._admission = Admission(routes)
        self._meter = meter
        self._tracer = tracer
        self._limits = limits
        self._windows: dict[str, Window] = {}
        self._alarms = Alarms(inflight, self._near_deadline, self._past_deadline)
        self._stopping = False
        self._log = get_logger("dispatch")
        self._answered = asyncio.Event()
        self.audit_wanted = asyncio.Event()
        """Set when entries may be lost or in dead hands; the auditor waits for it."""

    def connect(self, *, stream: Stream, workers: Workers) -> None:
        """Names the neighbours, which in turn need this object."""
        self._stream = stream
        self._workers = workers
        self._routes.watch(self._routes_changed)

    # What a transport calls.

    def take(self, blocks: Iterable[Calls]) -> None:
        """A turn's calls: each is refused at once or in flight from now on."""
        now = time.monotonic_ns()
        touched: dict[str, Window] = {}
        for block in blocks:
            for calls, span in self._tracer.begin(block):
                try:
                    admitted = self._admit(calls)
                except NnpmError as error:
                    self._refuse(calls, span, error)
                else:
                    self._board(calls, span, admitted, self._touch(admitted.route.id, touched), now)
        self._pump(touched.values())
        self._alarms.arm()

    def cancel(self, calls: Iterable[tuple[int, int]]) -> None:
        """Nobody waits for these (number of the block, offset) any more; answered ones are passed over."""
        in_redis: defaultdict[str, list[int]] = defaultdict(list)
        touched: dict[str, Window] = {}
        for number, offset in calls:
            for flight, _, _ in self._inflight.covering(number, offset, 1):
                if flight.entry is not None:
                    in_redis[flight.revision].append(number + offset)
                self._meter.cancelled(1)
                self._land(flight, 1, touched, abandoned=True)
        for revision, numbers in in_redis.items():
            self._workers.cancel(revision, numbers)
        self._pump(touched.values())

    # What workers' replies and Sessions call.

    def deliver(self, revision: str, replies: Sequence[Reply], figures: BatchFigures) -> int:
        """Answers calls with one batch's replies; returns how many were still wanted."""
        landed: list[Landed] = []
        for reply in replies:
            answered = 0
            for flight, offset, count in self._inflight.covering(reply.number, reply.offset, reply.count):
                if flight.nonce == reply.nonce and not reply.status:
                    first = flight.number + offset - reply.number - reply.offset
                    answered += flight.calls.answer(offset, count, reply.head, reply.raw_of(first, count))
            if answered or (reply.status and self._inflight.get(reply.number, reply.nonce)):
                landed.append((reply.number, reply.offset, reply.count, answered, reply.status))
        self.delivered(revision, landed, figures)
        return sum([answered for _, _, _, answered, _ in landed])

    def delivered(self, revision: str, replies: Iterable[Landed], figures: BatchFigures) -> None:
        """One batch's replies have reached their calls; those that are a status have not yet."""
        touched: dict[str, Window] = {}
        for number, offset, count, answered, status in replies:
            if status:
                self._status_came(number, offset, count, from_bytes(status), touched)
                continue
            covering = self._inflight.covering(number, offset, count)
            for flight, _, _ in covering:
                # A block that was taken apart meanwhile is counted piece by piece.
                calls = answered if len(covering) == 1 else flight.live - len(flight.calls.live())
                self._meter.succeeded(flight, calls, figures)
                self._land(flight, calls, touched)
        if figures.requests:
            self._meter.ran(revision, figures)
        self._pump(touched.values())

    def payload(self, number: int, nonce: int) -> bytes:
        """The bytes of a claimed request. Raises NotFound CLAIM_NOT_FOUND when it is no longer wanted."""
        flight = self._inflight.get(number, nonce)
        if flight is None:
            raise claim_not_found()
        return flight.calls.body() if flight.layout is None else b"".join(flight.calls.raw())

    def begin(self, worker: str, number: int, nonce: int) -> bool:
        """Whether a worker may run this suspect: it is still wanted."""
        flight = self._inflight.get(number, nonce)
        if flight is None:
            return False
        flight.begun_by = worker
        return True

    def worker_lost(self) -> None:
        """A worker's Session broke, or its heartbeat is late: what it had in hand is looked for at once."""
        self.audit_wanted.set()

    def outstanding(self, revision: str) -> int:
        """Whether, and in how many blocks, calls of a revision are in flight."""
        return self._inflight.outstanding(revision)

    # What the stream and the auditor call.

    def written(self, entries: Sequence[Posted]) -> None:
        """Entries are in Redis; one whose calls are all gone meanwhile is taken out again."""
        now = time.monotonic()
        for entry in entries:
            entry.at = now
            if not self._inflight.holds(entry):
                self._stream.remove(entry)

    def unwritten(self, entries: Sequence[Posted]) -> None:
        """Entries did not reach Redis for certain: their calls wait in memory."""
        for entry in entries:
            self._return(entry, self._inflight.withdraw(entry))

    def opened(self) -> None:
        """Redis answers again."""
        self.audit_wanted.set()
        self._pump(self._windows.values())

    def put_back(self, entry: Posted) -> None:
        """An entry is gone from Redis: its calls go to the head of the queue."""
        self.unwritten([entry])
        self._pump([self._window(entry.revision)])

    def take_back(self, entry: Posted, worker: str) -> None:
        """A worker died with an entry in hand: its calls are suspects; one that it ran as a suspect is poison."""
        for flight in list(entry.flights):
            self._inflight.take_apart(flight)
        flights = self._inflight.withdraw(entry)
        poisoned = [flight for flight in flights if flight.suspect and flight.begun_by == worker]
        for flight in flights:
            flight.suspect = True
        self._return(entry, flights)
        self._fail(poisoned, poison())
        self._pump([self._window(entry.revision)])

    def retired(self) -> Sequence[str]:
        """Revisions whose streams nobody reads any more."""
        return self._routes.pop_retired(STREAM_KEPT)

    # Stopping.

    async def drain(self, seconds: float) -> None:
        """Refuses new calls and waits for those in flight; what is left then fails with SERVER_STOPPING."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                while len(self._inflight):
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            left = [each for revision in self._inflight.revisions() for each in self._inflight.of_revision(revision)]
            self._fail(left, Unavailable("SERVER_STOPPING", "the scheduler stopped before the answer came"))

    # How it works.

    def _admit(self, calls: Calls) -> Admitted:
        if self._stopping:
            raise stopping()
        if calls.timeout is not None and calls.timeout <= 0:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline had passed when it arrived")
        try:
            return self._admission.admit(calls)
        except NnpmError:
            raise
        except Exception as error:
            # A fault of ours that one request brings out must not take its turn's other calls with it.
            self._log.exception("a call could not be admitted for a fault of the scheduler")
            raise Internal(
                "INTERNAL_ERROR", f"a fault inside the scheduler ({type(error).__name__}); its log has the details"
            ) from error

    def _refuse(self, calls: Calls, span: CallSpan | None, error: NnpmError) -> None:
        self._meter.refused(error, refuse(calls, error))
        if span is not None:
            span.end(error)

    def _board(self, calls: Calls, span: CallSpan | None, admitted: Admitted, window: Window, now: int) -> None:
        """Takes a block in flight, in pieces that each fit an entry."""
        route = admitted.route
        timeout = self._limits.timeout if calls.timeout is None else calls.timeout
        share = share_of(len(calls), ready=route.ready, batch=route.batch)
        if calls.size > self._limits.alone_above * len(calls):
            share = 1
        while True:
            piece = calls.split(share) if len(calls) > share else calls
            flight = self._inflight.admit(piece, admitted, now, now / 1e9 + timeout, span)
            self._meter.accepted(flight)
            self._alarms.set(flight)
            window.add(flight)
            if piece is calls:
                return

    def _land(self, flight: Flight, calls: int, touched: dict[str, Window], *, abandoned: bool = False) -> None:
        """So many calls of a block are answered or cancelled; the last one takes the block out.

        An entry that is abandoned, rather than answered by the worker that read it, is taken out of Redis.
        """
        window, entry = self._touch(flight.revision, touched), flight.entry
        flight.live -= calls
        if entry is not None:
            window.returned(entry, calls)
        if flight.live > 0:
            return
        window.forget(flight)
        self._inflight.finish(flight)
        if flight.span is not None:
            flight.span.end()
        if abandoned and entry is not None and entry.id and not entry.unanswered:
            self._stream.remove(entry)
        self._answered.set()

    def _status_came(self, number: int, offset: int, count: int, error: NnpmError, touched: dict[str, Window]) -> None:
        """A worker could not answer these requests: another one gets them, or their calls fail."""
        for flight, _, part in self._inflight.covering(number, offset, count):
            if part < flight.count:
                self._inflight.take_apart(flight)
        for flight, _, _ in self._inflight.covering(number, offset, count):
            self._touch(flight.revision, touched)
            if error.reason in PUT_BACK and flight.entry is not None:
                entry = flight.entry
                self._inflight.detach(flight)
                self._return(entry, [flight])
            else:
                self._fail([flight], error)

    def _window(self, revision: str) -> Window:
        window = self._windows.get(revision)
        if window is None:
            window = self._windows[revision] = Window(revision)
        return window

    def _touch(self, revision: str, touched: dict[str, Window]) -> Window:
        """The window of a revision, which is to be pumped at the turn's end."""
        window = touched.get(revision)
        if window is None:
            window = touched[revision] = self._window(revision)
        return window

    def _pump(self, windows: Iterable[Window]) -> None:
        """Writes what the windows have room for."""
        if not self._stream.open:
            return
        entries: list[Posted] = []
        now = time.monotonic()
        for window in windows:
            route = self._routes.revision(window.revision)
            ready, batch = (route.ready, route.batch) if route is not None else (0, 1)
            entries += window.take(ready=ready, batch=batch, now=now)
        if entries:
            for entry in entries:
                self._inflight.post(entry)
            self._stream.append(entries)

    def _return(self, entry: Posted, flights: Sequence[Flight]) -> None:
        """Blocks that are in no entry any more wait in memory again, at the head."""
        window = self._window(entry.revision)
        window.returned(entry, sum([flight.live for flight in flights]))
        window.put_back(flights)

    def _fail(self, flights: Iterable[Flight], error: NnpmError) -> None:
        """Takes blocks out, wherever they are, and fails what is live in them."""
        in_redis: defaultdict[str, list[int]] = defaultdict(list)
        touched: dict[str, Window] = {}
        for flight in flights:
            if flight.entry is not None:
                in_redis[flight.revision] += [flight.number + offset for offset in flight.calls.live()]
            self._meter.failed(flight, refuse(flight.calls, error), error)
            if flight.span is not None:
                flight.span.end(error)
                flight.span = None
            self._land(flight, flight.live, touched, abandoned=True)
        for revision, numbers in in_redis.items():
            self._workers.cancel(revision, numbers)
        self._pump(touched.values())

    def _routes_changed(self) -> None:
        """A revision that is gone fails its calls; one with more replicas gets more of its queue."""
        for revision in self._inflight.revisions():
            if self._routes.revision(revision) is None:
                self._fail(self._inflight.of_revision(revision), revision_retired())
        for revision in [key for key, window in self._windows.items() if not window]:
            del self._windows[revision]
        self._pump(self._windows.values())

    def _near_deadline(self, flights: list[Flight]) -> list[Flight]:
        """What Redis does not take will not be answered in time: its clients shall see why."""
        if self._stream.open:
            return flights
        self._fail([flight for flight in flights if flight.entry is None], queue_unavailable())
        return [flight for flight in flights if flight.entry is not None]

    def _past_deadline(self, flights: list[Flight]) -> None:
        self._fail(flights, past_deadline())
