"""Starts an inspection in a process of its own and serves it the pieces of the file that it asks for."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from nnpm_registry.inspection.report import from_json
from nnpm_registry.records import Rejection, Report

ReadPiece = Callable[[int, int], AsyncIterator[bytes]]
"""(offset, length) -> the bytes there, in pieces."""

_MAX_LINE = 16 << 20
_SERVED = 2
"""An inspection is served this many times the largest model that ONNX can write, 2 GiB, and no more."""
_MAX_SERVED = _SERVED << 31


@dataclass(frozen=True, slots=True)
class Limits:
    """What one inspection may take, and how many run side by side."""

    memory_bytes: int
    seconds: float
    at_once: int


class Inspector:
    """Inspects ONNX models. Whatever the model does to the process, the answer is a report."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Semaphore(limits.at_once)

    async def inspect(self, path: str, files: Mapping[str, int], read: ReadPiece) -> Report:
        """Inspects the model at `path` of a package whose files have these sizes, in bytes.

        Args:
            read: reads the model's file. What it raises, this raises.
        """
        async with self._turn, self._process() as process:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    return await self._converse(process, path, files, read)
            except TimeoutError:
                return Report(rejections=(self._too_slow(),))

    async def _converse(
        self, process: asyncio.subprocess.Process, path: str, files: Mapping[str, int], read: ReadPiece
    ) -> Report:
        asks, answers = process.stdout, process.stdin
        if asks is None or answers is None:
            raise AssertionError("the process was started with pipes")
        served = 0
        try:
            answers.write(json.dumps({"path": path, "files": dict(files)}).encode() + b"\n")
            while (message := await _message(asks)) is not None:
                if "report" in message:
                    return from_json(message["report"])
                offset, length = message["read"]
                served += length
                if served > _MAX_SERVED:
                    break
                async for piece in read(offset, length):
                    answers.write(piece)
                    await answers.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died while it was served; its exit status says of what
        return Report(rejections=(self._ended(await process.wait()),))

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[asyncio.subprocess.Process]:
        limits = self._limits
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "nnpm_registry.inspection",
            str(os.getpid()),
            str(limits.memory_bytes),
            str(max(1, int(limits.seconds))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            limit=_MAX_LINE,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())

    def _too_slow(self) -> Rejection:
        return Rejection(
            "INSPECTION_LIMIT",
            f"the inspection of the graph was not done after {self._limits.seconds:.0f} s",
            "simplify the graph, or raise registry_inspection_seconds",
        )

    def _ended(self, status: int) -> Rejection:
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return self._too_slow()
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        return Rejection(
            "INSPECTION_CRASHED",
            f"the process that inspected the graph ended with {how}: the graph is corrupt, or too large",
            "python -c 'import onnx; onnx.checker.check_model(PATH, full_check=True)' may say more",
        )


async def _message(asks: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message of the process, or None at its end, or when it writes what is none."""
    try:
        line = await asks.readline()
        message = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _environment() -> dict[str, str]:
    """No setting or secret of the registry; one thread, since each would take address space."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
