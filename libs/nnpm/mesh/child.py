"""One running process of the mesh: started through the guard, its output read line by line."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
LONGEST_LINE = 64 * 1024
"""Bytes; a longer line of output is cut into several."""


class Child:
    """A started process, the leader of a process group of its own: a Ctrl-C in the terminal doesn't reach it."""

    def __init__(self, process: Process, output: int, lifeline: int | None) -> None:
        self._process = process
        self._output = output
        self._lifeline = lifeline

    @classmethod
    async def start(
        cls, command: tuple[str, ...], environment: Mapping[str, str], *, watch: bool = sys.platform != "linux"
    ) -> "Child":
        """Start `command`, so that it dies when this process does.

        Call it from the main thread: Linux ties the child's life to the thread that forked it.

        Args:
            watch: tie the lives by a pipe and a watcher, for systems that have no PR_SET_PDEATHSIG.
        """
        options = ["--watch"] if watch else []
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *options, "--", *command]
        # Pipes of our own: asyncio's would let `wait` wait for all who inherited them, too.
        output, written = os.pipe()
        inner, lifeline = os.pipe() if watch else (None, None)
        try:
            process = await asyncio.create_subprocess_exec(
                *guarded,
                stdin=DEVNULL if inner is None else inner,
                stdout=written,
                stderr=written,
                env=dict(environment),
                process_group=0,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(written)
            if inner is not None:
                os.close(inner)
        return cls(process, output, lifeline)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def lines(self) -> AsyncIterator[str]:
        """What the process writes, to stdout or stderr, line by line, until it and all who inherited them are gone."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._output, "rb", buffering=0)
        )
        try:
            rest = b""
            while block := await reader.read(LONGEST_LINE):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace").rstrip("\r")
                if len(rest) >= LONGEST_LINE:
                    yield rest.decode(errors="replace")
                    rest = b""
            if rest:
                yield rest.decode(errors="replace")
        finally:
            transport.close()

    async def exited(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        status = await self._process.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return status

    def terminate(self) -> None:
        """Ask the process to stop in order (SIGTERM)."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process and whatever it started in its process group (SIGKILL)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
