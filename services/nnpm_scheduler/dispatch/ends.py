"""How calls end: each once, and with its last call a block leaves the table, its window and Redis."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from nnpm.errors import NnpmError
from nnpm_scheduler.dispatch.audit import Workers
from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.queues import Queues
from nnpm_scheduler.dispatch.quotas import Quotas
from nnpm_scheduler.dispatch.refusals import refuse
from nnpm_scheduler.dispatch.stream import Stream


class Ends:
    """Counts what has ended. A transport may know of an end that has not been told here yet: nothing is told twice."""

    _stream: Stream
    _workers: Workers

    def __init__(self, inflight: InFlight, queues: Queues, meter: Meter, quotas: Quotas) -> None:
        self._inflight = inflight
        self._queues = queues
        self._meter = meter
        self._quotas = quotas
        self._ended = asyncio.Event()

    def connect(self, stream: Stream, workers: Workers) -> None:
        """Names the neighbours."""
        self._stream = stream
        self._workers = workers

    async def next(self) -> None:
        """Waits until the next block has ended."""
        self._ended.clear()
        await self._ended.wait()

    def land(self, flight: Flight, calls: int, *, abandoned: bool = False) -> None:
        """So many calls of a block are answered or given up; the last one takes the block out.

        An entry that is abandoned, rather than answered by the worker that read it, is taken out of Redis.
        """
        window, entry = self._queues.touch(flight.revision), flight.entry
        window.landed(flight, calls, answered=not abandoned)
        if flight.accounts:
            self._quotas.landed(flight.accounts, calls)
        flight.live -= calls
        if flight.live > 0:
            return
        if entry is None:
            window.forget(flight)
        self._inflight.finish(flight)
        if flight.span is not None:
            flight.span.end()
        if abandoned and entry is not None and entry.id and not entry.unanswered:
            self._stream.remove(entry)
        self._ended.set()

    def fail(self, flights: Iterable[Flight], error: NnpmError) -> int:
        """Fails what is live in these blocks, wherever they are; returns how many. The others' ends are coming."""
        in_redis: defaultdict[str, list[int]] = defaultdict(list)
        failed = 0
        for flight in flights:
            if flight.entry is not None:
                in_redis[flight.revision] += [flight.number + offset for offset in flight.calls.live()]
            self._queues.touch(flight.revision).forget(flight)
            failed += self._fail(flight, error)
        self.tell_workers(in_redis)
        self._queues.pump(self._stream)
        return failed

    def take_apart(self, flight: Flight, entry: Posted) -> None:
        """Makes a block of each call. Calls that were given up, though nobody has said so yet, end here."""
        untold = self._inflight.take_apart(flight, entry)
        if untold:
            self._meter.cancelled(untold)
            self._quotas.landed(flight.accounts, untold)
            self._queues.touch(flight.revision).returned(entry, untold)
            self._ended.set()

    def tell_workers(self, given_up: Mapping[str, Sequence[int]]) -> None:
        """Nobody waits for these numbers (by revision) any more."""
        for revision, numbers in given_up.items():
            self._workers.cancel(revision, numbers)

    def _fail(self, flight: Flight, error: NnpmError) -> int:
        failed = refuse(flight.calls, error)
        self._meter.failed(flight, failed, error)
        if flight.span is not None:
            flight.span.end(error)
            flight.span = None
        if failed:
            self.land(flight, failed, abandoned=True)
        return failed
