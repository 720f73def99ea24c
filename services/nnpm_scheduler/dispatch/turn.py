"""The dispatch core: blocks of calls in, answers out, once an event-loop turn.

It decides and remembers; it does no input or output of its own. A transport hands it blocks, the stream tells it what
became of entries, workers' replies and control's hints come in as plain calls. Everything runs on one event loop, so
that nothing here is locked, and nothing waits.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from nnpm.errors import NnpmError, Unavailable
from nnpm.rpc.status import from_bytes
from nnpm_scheduler.dispatch.admission import Admission, Admitted
from nnpm_scheduler.dispatch.alarms import Alarms
from nnpm_scheduler.dispatch.audit import Workers
from nnpm_scheduler.dispatch.boarding import Boarding, Limits
from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.ends import Ends
from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.queues import Queues
from nnpm_scheduler.dispatch.quotas import Quotas
from nnpm_scheduler.dispatch.refusals import (
    claim_not_found,
    past_deadline,
    poison,
    queue_unavailable,
    revision_retired,
    stopping,
)
from nnpm_scheduler.dispatch.replies import Landed, Reply
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.standing import Standings
from nnpm_scheduler.dispatch.statistics import BatchFigures
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallTracer

STREAM_KEPT = 30.0
"""Seconds that a retired revision's stream is kept for workers that still look at it."""

PUT_BACK = frozenset({"NOT_BEGUN"})
"""A worker answers so when it hands requests back that it has not begun: another worker gets them."""


class Dispatch:
    """Every accepted call is answered once: by a worker's reply, or with a status.

    `connect` completes it before the first call.
    """

    _stream: Stream

    def __init__(
        self,
        routes: Routes,
        inflight: InFlight,
        meter: Meter,
        tracer: CallTracer,
        limits: Limits,
        *,
        quotas: Quotas | None = None,
    ) -> None:
        self._routes = routes
        self._inflight = inflight
        self._admission = Admission(routes)
        self._meter = meter
        self._tracer = tracer
        self._standings = Standings()
        self._queues = Queues(routes, inflight, limits.sharing)
        quotas = quotas or Quotas()
        self._ends = Ends(inflight, self._queues, meter, quotas)
        self._alarms = Alarms(inflight, self._near_deadline, self._past_deadline)
        self._boarding = Boarding(inflight, self._queues, meter, alarms=self._alarms, quotas=quotas, limits=limits)
        self._stopping = False
        self.audit_wanted = asyncio.Event()
        """Set when entries may be lost or in dead hands; the auditor waits for it."""

    def connect(self, *, stream: Stream, workers: Workers) -> None:
        """Names the neighbours, which in turn need this object."""
        self._stream = stream
        self._ends.connect(stream, workers)
        self._routes.watch(self._routes_changed)

    # What a transport calls.

    def take(self, blocks: Iterable[Calls]) -> None:
        """A turn's calls: each is refused at once or in flight from now on."""
        now = time.monotonic_ns()
        for block in blocks:
            for calls, span in self._tracer.begin(block):
                try:
                    admitted, standing = self._admit(calls), self._standings.of(calls.metadata)
                    self._boarding.board(calls, span, admitted, standing, now)
                except NnpmError as error:
                    self._boarding.refuse(calls, span, error)
        self._pump()
        self._alarms.arm()

    def cancel(self, calls: Iterable[tuple[int, int]]) -> None:
        """Nobody waits for these (number of the block, offset) any more; each is told once."""
        in_redis: defaultdict[str, list[int]] = defaultdict(list)
        for number, offset in calls:
            for flight, _, _ in self._inflight.covering(number, offset, 1):
                if flight.entry is not None:
                    in_redis[flight.revision].append(number + offset)
                self._meter.cancelled(1)
                self._ends.land(flight, 1, abandoned=True)
        self._ends.tell_workers(in_redis)
        self._pump()

    # What workers' replies and Sessions call.

    def deliver(self, revision: str, replies: Sequence[Reply], figures: BatchFigures) -> int:
        """Answers calls with one batch's replies; returns how many were still wanted."""
        landed: list[Landed] = []
        sent = 0
        for reply in replies:
            pieces = self._inflight.covering(reply.number, reply.offset, reply.count, reply.nonce)
            if reply.status:
                if pieces:
                    landed.append((reply.number, reply.offset, reply.count, 0, reply.status))
                continue
            for flight, offset, count in pieces:
                first = flight.number + offset - reply.number - reply.offset
                answered = flight.calls.answer(offset, count, reply.head, reply.raw_of(first, count))
                if answered:
                    sent += answered * reply.size
                    landed.append((flight.number, offset, count, answered, b""))
        return self.delivered(revision, landed, figures, sent)

    def delivered(self, revision: str, replies: Sequence[Landed], figures: BatchFigures, sent: int) -> int:
        """One batch's replies have reached their calls, in so many bytes; those that are a status have not yet."""
        wanted = 0
        if figures.requests:
            self._meter.ran(revision, figures)
            self._queues.touch(revision).pace.ran(figures)
        for number, offset, count, answered, status in replies:
            covering = self._inflight.covering(number, offset, count) if not status else ()
            for flight, _, _ in covering:
                # A block that was taken apart meanwhile is counted piece by piece.
                calls = answered if len(covering) == 1 else flight.live - len(flight.calls.live())
                if calls:
                    wanted += calls
                    self._meter.succeeded(flight, calls, figures)
                    self._ends.land(flight, calls)
        # What was answered is counted by now, so that a block may be taken apart.
        for number, offset, count, _, status in replies:
            if status:
                covering, error = self._inflight.covering(number, offset, count), from_bytes(status)
                wanted += sum([self._not_run(flight, first, part, error) for flight, first, part in covering])
        self._meter.sent(sent)
        self._pump()
        return wanted

    def payload(self, number: int, nonce: int) -> bytes:
        """The bytes of a claimed request. Raises NotFound CLAIM_NOT_FOUND when it is no longer wanted."""
        flight = self._inflight.get(number, nonce)
        if flight is None:
            raise claim_not_found()
        return flight.calls.body() if flight.layout is None else b"".join(flight.calls.raw())

    def begin(self, worker: str, number: int, nonce: int, entry: bytes = b"") -> bool:
        """Whether a worker may run this suspect: it is still wanted, and was not taken back since the worker read it.

        Args:
            worker: its incarnation.
            number: the suspect's.
            nonce: the suspect's.
            entry: the id of what the worker has read; empty from one that does not say.
        """
        flight = self._inflight.get(number, nonce)
        if flight is None or flight.entry is None:
            return False
        # An entry's id may not be known here yet, although it was read.
        if entry and flight.entry.id not in {b"", entry}:
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
        for entry in reversed(entries):  # each goes to the head
            self._queues.give_back(entry, self._inflight.withdraw(entry))

    def opened(self) -> None:
        """Redis answers again."""
        self.audit_wanted.set()
        self._queues.touch_all()
        self._pump()

    def beside(self, schedulers: int) -> None:
        """So many schedulers are listed, this one included."""
        self._queues.schedulers = max(1, schedulers)

    def put_back(self, entry: Posted) -> None:
        """An entry is gone from Redis: its calls go to the head of the queue."""
        self.unwritten([entry])
        self._pump()

    def take_back(self, entry: Posted, worker: str) -> None:
        """A worker died with an entry in hand: its calls are suspects; one that it ran as a suspect is poison."""
        for flight in [each for each in entry.flights if each.entry is entry]:
            self._ends.take_apart(flight, entry)
        flights = self._inflight.withdraw(entry)
        poisoned = [flight for flight in flights if flight.suspect and flight.begun_by == worker]
        for flight in flights:
            flight.suspect = True
        self._queues.give_back(entry, flights)
        self._ends.fail(poisoned, poison())

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
                    await self._ends.next()
        except TimeoutError:
            left = [each for revision in self._inflight.revisions() for each in self._inflight.of_revision(revision)]
            self._ends.fail(left, Unavailable("SERVER_STOPPING", "the scheduler stopped before the answer came"))

    # How it works.

    def _admit(self, calls: Calls) -> Admitted:
        if self._stopping:
            raise stopping()
        return self._admission.admit(calls)

    def _not_run(self, flight: Flight, first: int, count: int, error: NnpmError) -> int:
        """A worker could not answer so many requests of a block: another one gets them, or their calls fail."""
        entry, pieces = flight.entry, [flight]
        again = error.reason in PUT_BACK
        if entry is None and (again or count < flight.count):
            return 0  # they wait again already, and will be run
        if entry is not None and count < flight.count:
            self._ends.take_apart(flight, entry)
            pieces = [piece for piece, _, _ in self._inflight.covering(flight.number, first, count)]
        if entry is None or not again:
            return self._ends.fail(pieces, error)
        for piece in pieces:
            self._inflight.detach(piece)
        self._queues.give_back(entry, pieces)
        return sum([piece.live for piece in pieces])

    def _pump(self) -> None:
        self._queues.pump(self._stream)

    def _routes_changed(self) -> None:
        """A revision that is gone fails its calls; one with more replicas gets more of its queue."""
        for revision in self._inflight.revisions():
            if self._routes.revision(revision) is None:
                self._ends.fail(self._inflight.of_revision(revision), revision_retired())
        self._queues.touch_all()
        self._pump()

    def _near_deadline(self, flights: list[Flight]) -> list[Flight]:
        """What Redis does not take will not be answered in time: its clients shall see why."""
        if self._stream.open:
            return flights
        self._ends.fail([flight for flight in flights if flight.entry is None], queue_unavailable())
        return [flight for flight in flights if flight.entry is not None]

    def _past_deadline(self, flights: list[Flight]) -> None:
        self._ends.fail(flights, past_deadline())
