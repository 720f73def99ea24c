"""The request streams in Redis, over one connection of this worker's own.

A connection is used for as long as it is whole; after any error it is dropped, and a new one begins by reading what is
pending. Commands go out in pipelines: XDEL and XACK of what was answered, then one XREADGROUP a revision. It is never
one of a pool's connections: this protocol depends on knowing which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.queue.groups import group_is_missing
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm.queue.pipeline import Command, PipelineConnection

REDIS_ERRORS = (RedisError, OSError, TimeoutError)
"""Whatever a broken or unreachable Redis shows itself by."""

MOST_STREAMS = 100
"""Streams named in one blocking read: a wake-up costs Redis 0.1 ms at 100 keys, 0.7 at 1,000."""

_ANSWER_SECONDS = 1.5  # below the lease, so that a Redis that hangs does not stop the heartbeats
_MOST_PENDING = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """An entry read; `data` is None when only its id is left."""

    revision: str
    id: bytes
    data: bytes | None


class StreamConnection:
    """One connection, as one consumer of the group `workers`.

    Args:
        pipeline: this worker's own connection.
        consumer: this worker's incarnation.
    """

    def __init__(self, pipeline: PipelineConnection, consumer: str) -> None:
        self._pipeline = pipeline
        self._consumer = consumer
        self._revisions: dict[bytes, str] = {}
        self.client_id = 0

    @classmethod
    async def open(cls, redis: Redis, consumer: str) -> "StreamConnection":
        """Connect. Raises one of REDIS_ERRORS."""
        opened = cls(await PipelineConnection.open(redis, _ANSWER_SECONDS), consumer)
        try:
            opened.client_id = _checked((await opened._send([("CLIENT", "ID")]))[0])
        except BaseException:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        """Drop the connection, whatever its state."""
        await self._pipeline.close()

    async def exchange(
        self, acks: Mapping[str, Sequence[bytes]], wants: Mapping[str, int]
    ) -> tuple[list[Received], list[str]]:
        """Delete and acknowledge, then read what is new, without waiting.

        Args:
            acks: ids by revision.
            wants: how many entries at most, by revision.

        Returns:
            The entries, and the revisions whose group is missing.
        """
        commands: list[Command] = []
        for revision, ids in acks.items():
            commands.append(("XDEL", requests_key(revision), *ids))
            commands.append(("XACK", requests_key(revision), GROUP, *ids))
        commands += [self._read(count, [revision]) for revision, count in wants.items()]
        answers = await self._send(commands)
        for answer in answers[: 2 * len(acks)]:
            _checked(answer)
        return self._entries(answers[2 * len(acks) :], list(wants))

    async def wait(self, revisions: Sequence[str], seconds: float) -> tuple[list[Received], list[str]]:
        """Wait for one entry of any of the revisions (at most MOST_STREAMS). Returns as `exchange` does."""
        command = self._read(1, revisions, block_ms=max(1, int(seconds * 1000)))
        answers = await self._send([command], seconds)
        entries, missing = self._entries(answers, [revisions[0]])
        # One missing group fails the read of all, and the error does not say which in a form to rely on.
        return entries, list(revisions) if missing else []

    async def pending(self, revision: str) -> list[Received]:
        """Everything that this consumer was given and has not acknowledged. Empty where there is no group."""
        answers = await self._send([self._read(_MOST_PENDING, [revision], start="0")])
        return self._entries(answers, [revision])[0]

    def _read(self, count: int, revisions: Sequence[str], *, block_ms: int | None = None, start: str = ">") -> Command:
        keys = [requests_key(revision) for revision in revisions]
        self._revisions = self._revisions | {
            key.encode(): revision for key, revision in zip(keys, revisions, strict=True)
        }
        block = () if block_ms is None else ("BLOCK", block_ms)
        starts = [start] * len(keys)
        return ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count, *block, "STREAMS", *keys, *starts)

    async def _send(self, commands: Sequence[Command], wait: float = 0.0) -> list[Any]:
        return await self._pipeline.execute(commands, wait + _ANSWER_SECONDS)

    def _entries(self, answers: Sequence[Any], revisions: Sequence[str]) -> tuple[list[Received], list[str]]:
        entries: list[Received] = []
        missing: list[str] = []
        for answer, revision in zip(answers, revisions, strict=True):
            if isinstance(answer, Exception):
                if not group_is_missing(answer):
                    raise answer
                missing.append(revision)
                continue
            # RESP2 answers pairs, RESP3 a map.
            for key, found in answer.items() if isinstance(answer, dict) else answer or ():
                entries += [Received(self._revisions[key], entry_id, _body(fields)) for entry_id, fields in found]
        return entries, missing


def _checked(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _body(fields: Sequence[bytes] | None) -> bytes | None:
    if not fields:
        return None
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return values.get(FIELD.encode())
