"""A connection to Redis of one's own: commands go out in batches, answers come back in order, by a plain call.

redis-py's own way (StreamReader, a future and a time-out a command) costs more Python than the data path can spare. It
opens the connection here (address, TLS, user, database), then this protocol takes the transport over: a batch costs one
write, its answers one call, and no task.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import ResponseError

Command = tuple[bytes | str | int, ...]
Answers = list[Any]
"""One a command, in order; what Redis answers with an error is a ResponseError among them."""

_Waiting = tuple[int, Answers, Callable[[Answers], None], Callable[[Exception], None] | None]
_CONNECTING = 5.0  # seconds


class PipelineConnection(asyncio.Protocol):
    """After any error but Redis's own answers it is broken for good.

    Args:
        lost: called once when the connection breaks, not when it is closed.
    """

    def __init__(self, lost: Callable[[Exception], None] | None = None) -> None:
        self._lost = lost
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._waiting: deque[_Waiting] = deque()
        self._transport: asyncio.Transport | None = None
        self._opened: Any = None

    @classmethod
    async def open(
        cls, redis: Redis, seconds: float = _CONNECTING, lost: Callable[[Exception], None] | None = None
    ) -> "PipelineConnection":
        """Connects as `redis` does. Raises RedisError, OSError or TimeoutError."""
        pool = redis.connection_pool
        connection: Any = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        opened = cls(lost)
        # Nothing is outstanding after the handshake, so the stream's reader holds no bytes that would be lost.
        opened._opened = connection
        opened._transport = connection._writer.transport
        opened._transport.set_protocol(opened)
        return opened

    @property
    def broken(self) -> bool:
        """Whether it can be used no more."""
        return self._transport is None

    def send(
        self,
        commands: Sequence[Command],
        answered: Callable[[Answers], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Writes the commands at once; `answered` is called when the last one's answer is there, on the event loop.

        `failed` is called instead when the connection breaks first: then nobody knows what was done. When it is broken
        already, it is called before this returns.
        """
        if self._transport is None:
            if failed is not None:
                failed(BrokenConnectionError("the connection is broken"))
            return
        # hiredis types a command as a tuple of one.
        packed = [pack_command(cast("tuple[bytes]", command)) for command in commands]
        self._waiting.append((len(packed), [], answered, failed))
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))

    async def execute(self, commands: Sequence[Command], seconds: float) -> Answers:
        """As `send`, awaited.

        Raises RedisError, OSError or TimeoutError when the connection broke: then nobody knows what was done.
        """
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

        def answered(answers: Answers) -> None:
            if not future.done():
                future.set_result(answers)

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        self.send(commands, answered, failed)
        async with asyncio.timeout(seconds):
            return await future

    async def close(self) -> None:
        """Drops the connection, whatever its state; what waits for answers is told."""
        self._lost = None
        self._break(BrokenConnectionError("the connection was closed"))
        await self._opened.disconnect(nowait=True)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                if not self._waiting:
                    continue  # a push message; nobody asked for one
                wanted, answers, answered, _ = self._waiting[0]
                answers.append(answer)
                if len(answers) == wanted:
                    self._waiting.popleft()
                    answered(answers)
        except hiredis.ProtocolError as error:
            self._break(BrokenConnectionError(f"Redis sent what is no answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went away."""
        self._break(BrokenConnectionError(f"the connection broke: {exc or 'closed by Redis'}"))

    def pause_writing(self) -> None:
        """The bounds on what is in flight bound what is buffered here."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def _break(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, _, _, failed in waiting:
            if failed is not None:
                failed(error)
        if self._lost is not None:
            self._lost(error)
