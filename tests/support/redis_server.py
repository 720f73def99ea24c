"""A real Redis (or Valkey) for a test: on a unix socket, in memory, `noeviction`, gone at the end."""

from pathlib import Path

import redis

from support.processes import Process
from support.tools import redis_server
from support.waiting import wait_until


class RedisServer:
    """A server in `folder`; `persistent` keeps an append-only file there, so that a restart finds the data again."""

    def __init__(self, folder: Path, *, persistent: bool = False, options: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        command = [
            redis_server(),
            *("--port", "0"),
            *("--unixsocket", self.socket),
            *("--dir", folder),
            *("--save", ""),
            *("--appendonly", "yes" if persistent else "no"),
            *("--appendfsync", "always"),
            *("--maxmemory-policy", "noeviction"),
            *options,
        ]
        self.process = Process(command, folder / "redis.log")

    def start(self) -> "RedisServer":
        self.process.start()
        with self.client() as client:
            wait_until(client.ping, 10, what="Redis answers")
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back."""
        self.process.kill()

    def lose(self, size: int) -> None:
        """Cut so many bytes off the end of what it has written, as a power cut does; it must not run."""
        # Redis < 7 has one file; later ones a base and increments, of which the last is written to.
        files = [*self._folder.glob("appendonly.aof"), *sorted(self._folder.glob("appendonlydir/*.incr.aof"))]
        with files[-1].open("rb+") as file:
            file.truncate(max(0, file.seek(0, 2) - size))

    def stop(self) -> None:
        self.process.kill_group()

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))
