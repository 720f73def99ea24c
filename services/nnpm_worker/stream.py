"""A revision's request stream in Redis, over a connection of its replica's own.

One read is outstanding at most, and it blocks: an entry is here as soon as it is written, without a look. What was
answered is deleted and acknowledged in the pipeline of the next read; behind a blocking read it would wait, so then it
goes over another connection (`acknowledge` of a stream that is not reading, `nnpm_worker.reader`). A connection is used
for as long as it is whole; after any error it is dropped, and a new one begins by reading what is pending.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.queue.groups import group_is_missing
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm.queue.pipeline import Command, PipelineConnection

REDIS_ERRORS = (RedisError, OSError, TimeoutError)
"""Whatever a broken or unreachable Redis shows itself by."""

ANSWER_SECONDS = 1.5
"""Below the lease: a Redis that does not answer in that time is taken for away."""

BLOCK_SECONDS = 1.0
"""Of a read with nothing to give: it shows that Redis is there. (Redis ends it up to 0.1 s late.)"""

MOST_PENDING = 10_000
"""Entries of one consumer that are looked at."""


@dataclass(frozen=True, slots=True)
class Received:
    """An entry read; `data` is None when only its id is left."""

    revision: str
    id: bytes
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told what of a stream.

    Attributes:
        received: what a read brought; nothing, when it timed out or was ended.
        acknowledged: Redis has answered for these ids.
        missing: the group, or the stream with it, is gone.
        lost: the connection is of no use any more.
    """

    received: Callable[[list[Received]], None]
    acknowledged: Callable[[Sequence[bytes]], None]
    missing: Callable[[], None]
    lost: Callable[[Exception], None]


class RequestStream:
    """One connection, as one consumer of the group `workers`. All methods are called on the event loop.

    Args:
        pipeline: the connection.
        revision: whose stream it is.
        consumer: this worker's incarnation.
        ears: told on the event loop.
    """

    def __init__(self, pipeline: PipelineConnection, revision: str, consumer: str, ears: Ears) -> None:
        self._pipeline = pipeline
        self._revision = revision
        self._key = requests_key(revision)
        self._consumer = consumer
        self._ears = ears
        self.client_id = 0
        self.reading = False
        """Whether a read is outstanding."""

    @classmethod
    async def open(cls, redis: Redis, revision: str, consumer: str, ears: Ears) -> "RequestStream":
        """Connect. Raises one of REDIS_ERRORS."""
        opened = cls(await PipelineConnection.open(redis, ANSWER_SECONDS, ears.lost), revision, consumer, ears)
        try:
            opened.client_id = _checked((await opened._pipeline.execute([("CLIENT", "ID")], ANSWER_SECONDS))[0])
        except BaseException:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        """Drop the connection, whatever its state."""
        await self._pipeline.close()

    def read(self, count: int, ids: Sequence[bytes] = ()) -> None:
        """Delete and acknowledge `ids`, then take up to `count` entries as soon as there is one."""
        self.reading = True
        commands = [*self._acknowledgement(ids), self._read_command(count, ">", "BLOCK", int(BLOCK_SECONDS * 1000))]
        self._pipeline.send(commands, lambda answers: self._answered(ids, answers))

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        """Delete and acknowledge; only while no read is outstanding."""
        self._pipeline.send(self._acknowledgement(ids), lambda answers: self._answered(ids, answers))

    async def pending(self) -> list[Received]:
        """Everything that this consumer was given and has not acknowledged; only while no read is outstanding.

        Empty where there is no group.
        """
        (answer,) = await self._pipeline.execute([self._read_command(MOST_PENDING, "0")], ANSWER_SECONDS)
        if isinstance(answer, Exception) and group_is_missing(answer):
            return []
        return self._entries(_checked(answer))

    def _acknowledgement(self, ids: Sequence[bytes]) -> list[Command]:
        return acknowledgement(self._revision, ids) if ids else []

    def _read_command(self, count: int, start: str, *block: str | int) -> Command:
        return ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count, *block, "STREAMS", self._key, start)

    def _answered(self, ids: Sequence[bytes], answers: Sequence[Any]) -> None:
        acks, reads = (answers[:2], answers[2:]) if ids else ((), answers)
        error = next((answer for answer in acks if isinstance(answer, Exception)), None)
        if error is not None:
            self._ears.lost(error)
            return
        if ids:
            self._ears.acknowledged(ids)
        if reads:
            self._read_answered(reads[0])

    def _read_answered(self, answer: Any) -> None:
        self.reading = False
        if not isinstance(answer, Exception):
            self._ears.received(self._entries(answer))
        elif group_is_missing(answer):
            self._ears.missing()
        else:
            self._ears.lost(answer)

    def _entries(self, answer: Any) -> list[Received]:
        # RESP2 answers pairs, RESP3 a map.
        streams = answer.items() if isinstance(answer, dict) else answer or ()
        return [Received(self._revision, entry_id, _body(fields)) for _, found in streams for entry_id, fields in found]


def acknowledgement(revision: str, ids: Sequence[bytes]) -> list[Command]:
    """XDEL, then XACK: in this order, an entry that is deleted and pending is still found by whoever looks."""
    key = requests_key(revision)
    return [("XDEL", key, *ids), ("XACK", key, GROUP, *ids)]


def _checked(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _body(fields: Sequence[bytes] | None) -> bytes | None:
    if not fields:
        return None
    if len(fields) == 2 and fields[0] == FIELD.encode():
        return fields[1]
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return values.get(FIELD.encode())
