"""The Redis or Valkey under chaos: it keeps its data in an append-only file, whose tail can be cut off."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.member import Member
from nnpm.mesh.redis_server import RedisServer

LOST_BYTES = 4096
"""Of the append-only file's end, as a power cut takes them."""


class QueueServer(Member):
    """The server itself.

    Args:
        address: `host:port` where it listens.
        fsync: Redis's `appendfsync`.
        environment: what is preloaded, and how.
        inside: what its command is started through.
    """

    def __init__(
        self,
        server: RedisServer,
        folder: Path,
        address: str,
        *,
        fsync: str,
        environment: dict[str, str],
        inside: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        host, _, port = address.rpartition(":")
        options = {
            "port": port,
            "bind": host,
            "protected-mode": "no",
            "dir": folder,
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": fsync,
            "aof-load-truncated": "yes",
            "save": "",
        }
        command = [
            *inside,
            server.path,
            *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        ]
        super().__init__("redis", command, folder / "redis.log", environment)
        self.url = f"redis://{address}/0"

    def client(self) -> Redis:
        """A connection past all links."""
        return Redis.from_url(self.url, socket_timeout=2.0, socket_connect_timeout=1.0)

    def lose_tail(self) -> None:
        """Cut off the end of what it has written; it must not run."""
        # Redis < 7 has one file; later ones a base and increments, of which the last is written to.
        files = sorted(self._folder.glob("appendonlydir/*.incr.aof")) or sorted(self._folder.glob("appendonly.aof"))
        for path in files[-1:]:
            with path.open("rb+") as file:
                size = file.seek(0, 2)
                file.truncate(max(0, size - LOST_BYTES))

    async def answers(self) -> bool:
        """Whether it takes commands now."""
        client = self.client()
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    async def until_it_answers(self, seconds: float = 30.0) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not await self.answers():
                await asyncio.sleep(0.05)
