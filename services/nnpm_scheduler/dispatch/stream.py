"""Appends entries to the revisions' streams and removes those that nobody waits for: one pipelined write at a time.

What arrives while a write is under way goes with the next one. There is no MULTI around a write: three XADDs wake three
blocked workers, while in a MULTI one worker would get all three.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.queue.keys import FIELD, requests_key
from nnpm.queue.pipeline import Command, PipelineConnection
from nnpm.queue.schedulers import LEASE, SchedulerListing
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.inflight import Posted

RETRY = 0.1
"""Seconds between two tries to reach a Redis that does not answer."""


class StreamEvents(Protocol):
    """What happens to entries."""

    def written(self, entries: Sequence[Posted]) -> None:
        """They are in their streams, and their ids are known."""

    def unwritten(self, entries: Sequence[Posted]) -> None:
        """They are in no stream, or may be but their ids were not learnt."""

    def opened(self) -> None:
        """Redis answers again: entries may be missing."""

    def retired(self) -> Sequence[str]:
        """Revisions whose streams nobody reads any more; each is named once."""


class Stream:
    """The scheduler's end of every revision's stream."""

    def __init__(
        self, redis: Redis, listing: SchedulerListing, encode: Callable[[Posted], bytes], events: StreamEvents
    ) -> None:
        self._redis = redis
        self._listing = listing
        self._encode = encode
        self._events = events
        self._log = get_logger("stream")
        self._appends: list[Posted] = []
        self._removals: list[Posted] = []
        self._work = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self._connection: PipelineConnection | None = None

    @property
    def open(self) -> bool:
        """Whether Redis takes entries, as far as is known."""
        return not self._closed.is_set()

    def append(self, entries: Sequence[Posted]) -> None:
        """Writes them soon; `written` or `unwritten` tells how it went."""
        self._appends += entries
        self._work.set()

    def remove(self, entry: Posted) -> None:
        """Takes an entry out of its stream; one that a worker has read already is cleaned up by that worker's XACK."""
        self._removals.append(entry)
        self._work.set()

    async def write(self) -> None:
        """Writes what there is, until cancelled."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                appends, self._appends = self._appends, []
                removals, self._removals = self._removals, []
                if self.open:
                    await self._write(appends, removals)
                elif appends:
                    self._events.unwritten(appends)
        finally:
            await self._disconnect()

    async def keep(self) -> None:
        """Keeps the scheduler listed in Redis twice a lease, and so learns whether Redis answers, until cancelled."""
        while True:
            try:
                await self._listing.refresh()
                for revision in self._events.retired():
                    await self._redis.unlink(requests_key(revision))
            except (RedisError, OSError) as error:
                self._close(error)
            else:
                self._reopen()
                await self._closed_within(LEASE / 2)
            if not self.open:
                await asyncio.sleep(RETRY)

    async def _write(self, appends: Sequence[Posted], removals: Sequence[Posted]) -> None:
        appends = [entry for entry in appends if entry.unanswered]
        commands: list[Command] = [
            ("XADD", requests_key(entry.revision), "*", FIELD, self._encode(entry)) for entry in appends
        ]
        commands += [("XDEL", requests_key(entry.revision), entry.id) for entry in removals]
        try:
            if self._connection is None:
                self._connection = await PipelineConnection.open(self._redis, LEASE)
            replies = await self._connection.execute(commands, LEASE)
        except (RedisError, OSError) as error:
            await self._disconnect()
            self._close(error)
            self._events.unwritten(appends)
            return
        written, refused = [], []
        for entry, reply in zip(appends, replies[: len(appends)], strict=True):
            if isinstance(reply, Exception):
                refused.append((entry, reply))
            else:
                entry.id = reply
                written.append(entry)
        self._events.written(written)
        if refused:
            # Out of memory, or read-only: Redis answers, but takes nothing; as good as closed for new entries.
            self._close(refused[0][1])
            self._events.unwritten([entry for entry, _ in refused])

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _close(self, error: Exception) -> None:
        if self.open:
            kind = "refuses entries" if isinstance(error, ResponseError) else "does not answer"
            self._log.warning(f"redis {kind}; calls wait in memory", error=str(error))
        self._closed.set()

    def _reopen(self) -> None:
        if not self.open:
            self._log.info("redis answers")
            self._closed.clear()
            self._events.opened()

    async def _closed_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
