"""Appends entries to the revisions' streams and removes those that nobody waits for: one write a turn.

There is no MULTI around a write: three XADDs wake three blocked workers, while in a MULTI one worker would get all
three.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

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

    def beside(self, schedulers: int) -> None:
        """So many schedulers are listed, this one included; the dead may still be among them."""

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
        self._closed = asyncio.Event()
        self._closed.set()
        self._connection: PipelineConnection | None = None

    @property
    def open(self) -> bool:
        """Whether Redis takes entries, as far as is known."""
        return not self._closed.is_set()

    def append(self, entries: Sequence[Posted]) -> None:
        """Writes them now; `written` or `unwritten` tells how it went."""
        if self._connection is None:
            self._events.unwritten(entries)
            return
        commands: list[Command] = [
            ("XADD", requests_key(entry.revision), "*", FIELD, self._encode(entry)) for entry in entries
        ]
        self._connection.send(
            commands,
            lambda answers: self._appended(entries, answers),
            lambda _error: self._events.unwritten(entries),
        )

    def remove(self, entry: Posted) -> None:
        """Takes an entry out of its stream; one that a worker has read already is cleaned up by that worker's XACK."""
        if self._connection is not None:
            self._connection.send([("XDEL", requests_key(entry.revision), entry.id)], _ignore)

    async def keep(self) -> None:
        """Keeps the scheduler listed in Redis twice a lease, and so learns whether Redis answers, until cancelled."""
        try:
            while True:
                try:
                    self._events.beside(await self._listing.refresh())
                    for revision in self._events.retired():
                        await self._redis.unlink(requests_key(revision))
                    if self._connection is None:
                        self._connection = await PipelineConnection.open(self._redis, LEASE, self._close)
                except (RedisError, OSError) as error:
                    self._close(error)
                    await self._disconnect()
                else:
                    self._reopen()
                    await self._closed_within(LEASE / 2)
                if not self.open:
                    await asyncio.sleep(RETRY)
        finally:
            await self._disconnect()

    def _appended(self, entries: Sequence[Posted], answers: Sequence[Any]) -> None:
        written, refused = [], []
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Exception):
                refused.append(entry)
                error = answer
            else:
                entry.id = answer
                written.append(entry)
        self._events.written(written)
        if refused:
            # Out of memory, or read-only: Redis answers, but takes nothing; as good as closed for new entries.
            self._close(error)
            self._events.unwritten(refused)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _close(self, error: Exception) -> None:
        if self.open:
            kind = "refuses entries" if isinstance(error, ResponseError) else "does not answer"
            self._log.warning(f"redis {kind}; calls wait in memory", error=str(error))
        self._closed.set()
        if self._connection is not None and self._connection.broken:
            self._connection = None

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


def _ignore(_answers: Sequence[Any]) -> None:
    """An entry that is gone already is as good."""
