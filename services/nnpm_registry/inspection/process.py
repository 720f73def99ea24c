"""The inspecting process as its parent holds it: one socket to talk over, and a sure end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

_MAX_LINE = 16 << 20


class InspectionProcess:
    """A running inspection. Talks JSON lines one way, JSON lines and raw bytes the other."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def started(cls, memory_bytes: int, cpu_seconds: int) -> AsyncIterator[Self]:
        """Starts it, in a session of its own, and kills the session in the end."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.to_thread(_start, theirs, memory_bytes, max(1, cpu_seconds))
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_MAX_LINE)
        running = cls(process, reader, writer)
        try:
            yield running
        finally:
            writer.close()
            await asyncio.shield(running.end())

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        return self._process.pid

    async def send(self, message: Mapping[str, Any]) -> None:
        """Sends a line of JSON."""
        await self.write(json.dumps(message).encode() + b"\n")

    async def write(self, content: bytes) -> None:
        """Sends bytes. Raises ConnectionError when the process has ended."""
        self._writer.write(content)
        await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or None at the process's end, or when it writes what is none."""
        try:
            line = await self._reader.readline()
            message = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            return None
        return message if isinstance(message, dict) else None

    async def end(self) -> int:
        """Kills what is left of it; the exit status, negative for the signal that it died of."""
        with suppress(subprocess.TimeoutExpired):
            # One that died by itself gets the time to say how.
            return await asyncio.to_thread(self._process.wait, 1 if self._reader.at_eof() else 0)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return await asyncio.to_thread(self._process.wait)


def _start(theirs: socket.socket, memory_bytes: int, cpu_seconds: int) -> subprocess.Popen[bytes]:
    """Called in a thread: Popen waits for the exec. It forks by vfork, which no library's fork handlers disturb."""
    command = [sys.executable, "-m", "nnpm_registry.inspection", *map(str, (os.getpid(), memory_bytes, cpu_seconds))]
    return subprocess.Popen(  # noqa: S603 -- our own program; what it inspects is not on its command line
        command,
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """No setting or secret of the registry; one thread, since each would take address space."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
