"""Reads files: straight from the store where it can be reached and the service allows it, else through the service.

Both ways give the same bytes. What comes from the store is verified chunk by chunk before a byte of it is handed on;
what does not verify is asked of the service, which finds the damage and remembers it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from typing import TYPE_CHECKING

from nnpm.api.artifact.v1.artifact_pb2 import LocateFileRequest, ReadFileRequest
from nnpm.artifacts.store_ranges import StoreConnection, StoreOutOfReachError, StoreRange
from nnpm.errors import FailedPrecondition, Unimplemented

if TYPE_CHECKING:
    from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceAsyncStub

_REST_SECONDS = 60.0
"""How long a store that could not be reached is not tried again."""


class FileReader:
    """Reads files of one artifact service.

    Args:
        executor: where blocking reads run; None = the event loop's own.
        on_fallback: told why the store, which the service says can be read, cannot be read from here.
    """

    def __init__(
        self,
        stub: "ArtifactServiceAsyncStub",
        executor: Executor | None = None,
        on_fallback: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stub = stub
        self._executor = executor
        self._on_fallback = on_fallback
        self._rests_until = 0.0
        self.direct_bytes = 0
        """What came straight from the store."""

    async def read(
        self, namespace: str, digest: str, offset: int, timeout: float | None = None
    ) -> AsyncIterator[bytes | memoryview]:
        """The bytes of a file from `offset` to its end, in blocks. Raises NnpmError, as the service does."""
        at = offset
        while time.monotonic() >= self._rests_until:
            begun = at
            try:
                async with aclosing(self._direct(namespace, digest, at, timeout)) as pieces:
                    async for piece in pieces:
                        at += len(piece)
                        self.direct_bytes += len(piece)
                        yield piece
            except (FailedPrecondition, Unimplemented):
                self._rests_until = time.monotonic() + _REST_SECONDS
            except StoreOutOfReachError as fault:
                if at > begun:  # a URL may have run out meanwhile: new ones
                    continue
                self._rests_until = time.monotonic() + _REST_SECONDS
                self._on_fallback(str(fault))
            else:
                return
        request = ReadFileRequest(namespace=namespace, digest=digest, offset=at)
        async for answer in self._stub.ReadFile(request, timeout=timeout):
            yield answer.data

    async def _direct(
        self, namespace: str, digest: str, offset: int, timeout: float | None
    ) -> AsyncGenerator[memoryview, None]:
        """Range after range, the next one on its way while one is used."""
        loop = asyncio.get_running_loop()
        connection = StoreConnection()
        coming: asyncio.Future[memoryview] | None = None
        skip = 0
        try:
            async for wanted, place in self._ranges(namespace, digest, offset, timeout):
                before = await coming if coming is not None else None
                coming = loop.run_in_executor(self._executor, connection.fetch, wanted)
                if before is not None:
                    yield before[skip:]
                skip = max(0, offset - place)
            if coming is not None:
                yield (await coming)[skip:]
        finally:
            if coming is not None:
                await asyncio.wait([coming])
                coming.exception()  # seen here: whoever would have waited for it is gone
            connection.close()

    async def _ranges(
        self, namespace: str, digest: str, offset: int, timeout: float | None
    ) -> AsyncIterator[tuple[StoreRange, int]]:
        """The ranges in order, each with the place of its first byte in the file."""
        request = LocateFileRequest(namespace=namespace, digest=digest, offset=offset)
        async for answer in self._stub.LocateFile(request, timeout=timeout):
            for one in answer.ranges:
                chunks = [(chunk.size, chunk.digest) for chunk in one.chunks]
                yield StoreRange(one.url, one.first_byte, chunks), one.file_offset
