"""The dispatch core: a list of calls in, a list of answers out, once an event-loop turn.

It decides and remembers; it does no input or output of its own. A transport hands it calls, the stream tells it what
became of entries, workers' replies and control's hints come in as plain calls. Everything runs on one event loop, so
that nothing here is locked, and nothing waits.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnpm.errors import DeadlineExceeded, Internal, NnpmError, NotFound, Unavailable
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.admission import Admission
from nnpm_scheduler.dispatch.audit import Workers
from nnpm_scheduler.dispatch.call import Answer, Call, Outcome, Transport
from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.statistics import BatchFigures
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.window import Window

EARLY = 0.1
"""Seconds before its deadline at which a call that could not be queued is given up."""

STREAM_KEPT = 30.0
"""Seconds that a retired revision's stream is kept for workers that still look at it."""

PUT_BACK = frozenset({"WORKER_STOPPING"})
"""A worker answers so when it hands a request back that it has not begun: another worker gets it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer to one request: the serialised ModelInferResponse, or an error."""

    number: int
    nonce: int
    body: bytes
    error: NnpmError | None = None


class Dispatch:
    """Every accepted call is answered once: by a worker's reply, or with a status.

    `connect` completes it before the first call.
    """

    _stream: Stream
    _transport: Transport
    _workers: Workers

    def __init__(self, routes: Routes, inflight: InFlight, admission: Admission, meter: Meter) -> None:
        self._routes = routes
        self._inflight = inflight
        self._admission = admission
        self._meter = meter
        self._windows: dict[str, Window] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._log = get_logger("dispatch")
        self._answered = asyncio.Event()
        self.audit_wanted = asyncio.Event()
        """Set when entries may be lost or in dead hands; the auditor waits for it."""

    def connect(self, *, stream: Stream, transport: Transport, workers: Workers) -> None:
        """Names the neighbours, which in turn need this object."""
        self._stream = stream
        self._transport = transport
        self._workers = workers
        self._routes.watch(self._routes_changed)

    # What a transport calls.

    def take(self, calls: Sequence[Call]) -> None:
        """A turn's calls: each is refused at once or in flight from now on."""
        refused: list[Answer] = []
        touched: dict[str, Window] = {}
        for call in calls:
            try:
                flight = self._admit(call)
            except NnpmError as error:
                self._meter.refused(error)
                refused.append((call, error))
                continue
            self._meter.accepted(flight.size)
            self._set_alarm(flight)
            window = touched[flight.revision] = self._window(flight.revision)
            window.add(flight)
        self._pump(touched.values())
        self._arm()
        self._answer(refused)

    def cancel(self, calls: Iterable[Call]) -> None:
        """Nobody waits for these any more; those that are answered already are passed over."""
        found = [self._inflight.get(call.number) for call in calls]
        flights = [flight for flight in found if flight is not None]
        self._drop(flights)
        self._meter.cancelled(len(flights))
        self._answered.set()

    # What workers' replies and Sessions call.

    def deliver(self, worker: str, revision: str, replies: Sequence[Reply], figures: BatchFigures) -> int:
        """Answers calls with one batch's replies; returns how many were still wanted."""
        del worker
        answers: list[Answer] = []
        touched: dict[str, Window] = {}
        for reply in replies:
            flight = self._inflight.get(reply.number, reply.nonce)
            if flight is None:
                continue
            window = touched[flight.revision] = self._window(flight.revision)
            if reply.error is not None and reply.error.reason in PUT_BACK and flight.entry is not None:
                entry = flight.entry
                self._inflight.detach(flight)
                self._return(entry, [flight])
                continue
            outcome: Outcome = reply.body if reply.error is None else reply.error
            window.forget(flight)
            self._inflight.finish(flight)
            self._meter.answered(flight, outcome, figures)
            answers.append((flight.call, outcome))
        if figures.requests:
            self._meter.ran(revision, figures)
        self._pump(touched.values())
        self._answer(answers)
        return len(answers)

    def payload(self, number: int, nonce: int) -> bytes:
        """The body of a claimed request. Raises NotFound CLAIM_NOT_FOUND when it is no longer wanted."""
        flight = self._inflight.get(number, nonce)
        if flight is None:
            raise NotFound("CLAIM_NOT_FOUND", "the request is answered, cancelled or expired")
        return flight.call.body

    def begin(self, worker: str, number: int, nonce: int) -> bool:
        """Whether a worker may run this suspect: it is still wanted."""
        flight = self._inflight.get(number, nonce)
        if flight is None:
            return False
        flight.begun_by = worker
        return True

    def worker_lost(self, worker: str) -> None:
        """A worker's Session broke, or its heartbeat is late: what it had in hand is looked for at once."""
        del worker
        self.audit_wanted.set()

    def outstanding(self, revision: str) -> int:
        """How many calls of a revision are in flight."""
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
        flights = self._inflight.withdraw(entry)
        poisoned = [flight for flight in flights if flight.suspect and flight.begun_by == worker]
        for flight in flights:
            flight.suspect = True
        self._return(entry, flights)
        self._fail(poisoned, _poison())
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
            left = [
                flight for revision in self._inflight.revisions() for flight in self._inflight.of_revision(revision)
            ]
            self._fail(left, Unavailable("SERVER_STOPPING", "the scheduler stopped before the answer came"))

    # How it works.

    def _admit(self, call: Call) -> Flight:
        if self._stopping:
            raise Unavailable("SERVER_STOPPING", "the scheduler is shutting down", retry_after=1.0)
        try:
            return self._admission.admit(call)
        except NnpmError:
            raise
        except Exception as error:
            # A fault of ours that one request brings out must not take its turn's other calls with it.
            self._log.exception("a call could not be admitted for a fault of the scheduler")
            raise Internal(
                "INTERNAL_ERROR", f"a fault inside the scheduler ({type(error).__name__}); its log has the details"
            ) from error

    def _window(self, revision: str) -> Window:
        window = self._windows.get(revision)
        if window is None:
            window = self._windows[revision] = Window(revision)
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

    def _answer(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._transport.answer(answers)
            self._answered.set()

    def _return(self, entry: Posted, flights: Sequence[Flight]) -> None:
        """Calls that are in no entry any more wait in memory again, at the head."""
        window = self._window(entry.revision)
        window.withdrawn(entry, len(flights))
        window.put_back(flights)

    def _drop(self, flights: Iterable[Flight]) -> None:
        """Takes calls out before they are answered, wherever they are."""
        in_redis: defaultdict[str, list[int]] = defaultdict(list)
        for flight in flights:
            entry = flight.entry
            self._window(flight.revision).forget(flight)
            self._inflight.finish(flight)
            if entry is not None:
                in_redis[flight.revision].append(flight.number)
                if not entry.unanswered and entry.id:
                    self._stream.remove(entry)
        for revision, numbers in in_redis.items():
            self._workers.cancel(revision, numbers)
        self._pump(map(self._window, in_redis))

    def _fail(self, flights: Sequence[Flight], error: NnpmError) -> None:
        self._drop(flights)
        for flight in flights:
            self._meter.answered(flight, error)
        self._answer([(flight.call, error) for flight in flights])

    def _routes_changed(self) -> None:
        """A revision that is gone fails its calls; one with more replicas gets more of its queue."""
        for revision in self._inflight.revisions():
            if self._routes.revision(revision) is None:
                gone = Unavailable("REVISION_RETIRED", "the revision was taken down before the answer came")
                self._fail(self._inflight.of_revision(revision), gone)
        for revision in [key for key, window in self._windows.items() if not window]:
            del self._windows[revision]
        self._pump(self._windows.values())

    def _set_alarm(self, flight: Flight) -> None:
        """Rings a little early: a client whose own deadline passes first would never see why nothing came."""
        early = min(EARLY, 0.1 * (flight.deadline - flight.admitted_ns / 1e9))
        self._inflight.set_alarm(flight, flight.deadline - early)

    def _arm(self) -> None:
        """One timer stands for all alarms."""
        at = self._inflight.next_alarm()
        if at is None:
            return
        delay = max(0.001, at - time.monotonic())  # below a millisecond uvloop makes no timer, but calls soon
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = time.monotonic()
        expired, unqueued = [], []
        for flight in self._inflight.alarmed(now):
            if flight.entry is None and not self._stream.open:
                unqueued.append(flight)
            elif flight.deadline <= now:
                expired.append(flight)
            else:
                self._inflight.set_alarm(flight, flight.deadline)
        self._fail(unqueued, _queue_unavailable())
        self._fail(expired, DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline passed before its answer"))
        self._arm()


def _poison() -> Internal:
    return Internal(
        "POISON_REQUEST",
        "two workers died while they ran this request; it is not tried again",
        hint="the model crashes on these inputs: run them through its runtime on their own",
    )


def _queue_unavailable() -> Unavailable:
    return Unavailable(
        "QUEUE_UNAVAILABLE",
        "Redis did not answer while the call's deadline allowed to wait",
        hint="is Redis up? nnpm status tells",
        retry_after=1.0,
    )
