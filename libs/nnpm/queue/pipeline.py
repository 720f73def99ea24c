"""One connection of one's own, on which commands go out in pipelines.

redis-py's pipelines take any connection of the pool and cost more Python than the data path can spare: 78, 129 and
264 us of CPU for 1, 4 and 16 XADDs of 400 bytes (redis-py 8.1, uvloop), against 29, 52 and 48 here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import ResponseError

Command = tuple[bytes | str | int, ...]


class PipelineConnection:
    """Used by one task at a time; after any error but Redis's own answers it is broken for good."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, redis: Redis, seconds: float) -> "PipelineConnection":
        """Connects as `redis` does. Raises RedisError, OSError or TimeoutError."""
        pool = redis.connection_pool
        connection: Any = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection)

    async def execute(self, commands: Sequence[Command], seconds: float) -> list[Any]:
        """One answer a command, in order; what Redis answers with an error is returned, not raised.

        Raises RedisError, OSError or TimeoutError when the connection broke: then nobody knows what was done.
        """
        answers = []
        async with asyncio.timeout(seconds):
            # hiredis types a command as a tuple of one.
            packed = b"".join([pack_command(cast("tuple[bytes]", command)) for command in commands])
            await self._connection.send_packed_command(packed, check_health=False)
            for _ in commands:
                try:
                    answers.append(await self._connection.read_response(disable_decoding=True))
                except BrokenConnectionError:
                    raise
                except ResponseError as error:
                    answers.append(error)
        return answers

    async def close(self) -> None:
        """Drops the connection, whatever its state."""
        await self._connection.disconnect(nowait=True)
