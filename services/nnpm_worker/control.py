"""A connection to Redis beside the replicas' own: for what must not wait behind their blocking reads."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from nnpm.queue.pipeline import PipelineConnection
from nnpm.telemetry.logs import get_logger
from nnpm_worker.stream import ANSWER_SECONDS, REDIS_ERRORS, acknowledgement

_PING_SECONDS = 0.5

_log = get_logger("control")


class Control:
    """See the module. What is asked of it while Redis is away is not done.

    Args:
        redis: how to connect.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._connection: PipelineConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether Redis is in reach, as far as is known."""
        return self._connection is not None

    async def run(self) -> None:
        """Keep the connection, and so learn whether Redis answers, until cancelled."""
        while True:
            try:
                connection = await PipelineConnection.open(self._redis, ANSWER_SECONDS)
                try:
                    await self._keep(connection)
                finally:
                    self._connection = None
                    await connection.close()
            except REDIS_ERRORS as error:
                _log.warning("Redis is out of reach", why=str(error) or type(error).__name__)
            await asyncio.sleep(_PING_SECONDS / 2)

    def acknowledge(
        self, revision: str, ids: Sequence[bytes], done: Callable[[], None], undone: Callable[[], None]
    ) -> None:
        """Delete and acknowledge; tells which of both it came to."""
        if self._connection is None:
            undone()
            return

        def answered(answers: Sequence[Any]) -> None:
            (undone if any(isinstance(answer, Exception) for answer in answers) else done)()

        self._connection.send(acknowledgement(revision, ids), answered, lambda _error: undone())

    def unblock(self, client_id: int) -> None:
        """End a connection's blocking read, if there is one at that moment."""
        if self._connection is not None:
            self._connection.send([("CLIENT", "UNBLOCK", client_id)], _ignore)

    async def _keep(self, connection: PipelineConnection) -> None:
        while True:
            await connection.execute([("PING",)], ANSWER_SECONDS)
            self._connection = connection
            await asyncio.sleep(_PING_SECONDS)


def _ignore(_answers: Sequence[Any]) -> None:
    """Whether a read was ended shows in that read's answer."""
