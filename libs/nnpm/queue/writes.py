"""redis-py's connections with another bound on writes.

redis-py bounds a write by `asyncio.wait_for`, which costs a task a command and, before Python 3.12, swallows a
cancellation that comes in the same moment as the result (python/cpython#86296): a cancelled loop would run on for ever.
`asyncio.timeout` has neither fault.
"""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection


class _Bounded(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        seconds, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(seconds):
                await super().send_packed_command(command, check_health)
        finally:
            self.socket_timeout = seconds


class _Tcp(_Bounded, Connection):
    pass


class _Tls(_Bounded, SSLConnection):
    pass


class _Unix(_Bounded, UnixDomainSocketConnection):
    pass


def bound_writes(redis: Redis) -> Redis:
    """The same client, before its first command, over such connections."""
    pool = redis.connection_pool
    pool.connection_class = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}[
        pool.connection_class
    ]
    return redis
