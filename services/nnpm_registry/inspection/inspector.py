"""Starts an inspection in a process of its own and serves it the pieces of the file that it asks for."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from nnpm_registry.inspection.process import InspectionProcess
from nnpm_registry.inspection.report import from_json
from nnpm_registry.records import Rejection, Report

ReadPiece = Callable[[int, int], AsyncIterator[bytes]]
"""(offset, length) -> the bytes there, in pieces."""

_MAX_SERVED = 1 << 32
"""Bytes that an inspection is served at most: twice the largest file that a model can be."""


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
        limits = self._limits
        async with self._turn, InspectionProcess.started(limits.memory_bytes, int(limits.seconds)) as process:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    return await self._converse(process, path, files, read)
            except TimeoutError:
                return Report(rejections=(self._too_slow(),))

    async def _converse(
        self, process: InspectionProcess, path: str, files: Mapping[str, int], read: ReadPiece
    ) -> Report:
        served = 0
        try:
            await process.send({"path": path, "files": dict(files)})
            while (message := await process.receive()) is not None:
                if "report" in message:
                    return from_json(message["report"])
                offset, length = message["read"]
                served += length
                if served > _MAX_SERVED:
                    break
                async for piece in read(offset, length):
                    await process.write(piece)
        except ConnectionError:
            pass  # it died while it was served; its exit status says of what
        return Report(rejections=(self._ended(await process.end()),))

    def _too_slow(self) -> Rejection:
        return Rejection(
            "INSPECTION_LIMIT",
            f"the inspection of the graph was not done after {self._limits.seconds:.0f} s",
            "simplify the graph, or raise registry_inspection_seconds",
        )

    def _ended(self, status: int) -> Rejection:
        if status == -signal.SIGXCPU:
            return self._too_slow()
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        return Rejection(
            "INSPECTION_CRASHED",
            f"the process that inspected the graph ended with {how}: the graph is corrupt, or too large",
            "python -c 'import onnx; onnx.checker.check_model(PATH, full_check=True)' may say more",
        )
