"""Reads chunks out of packs: neighbours in one go, the next while the last is used, every one verified."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnpm.errors import DataLoss, NotFound
from nnpm.sql.database import Database
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.packs import CorruptChunk, verify_chunk
from nnpm_artifact.recipes import Chunk, length_of
from nnpm_artifact.store import chunk_rows
from nnpm_artifact.store.chunk_rows import Location
from nnpm_artifact.threads import Threads

Locate = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, Location]]]
"""Where chunks lie now, by digest; those that are not stored are left out."""

_RUN_BYTES = 2 << 20
_AHEAD = 2
"""Runs of 2 MiB that are read ahead: enough to keep a store busy, little enough to forget."""


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks that lie one after the other in a pack."""

    pack: str
    offset: int
    chunks: tuple[Chunk, ...]


class ChunkReader:
    """Reads chunks in the order that is asked for."""

    def __init__(self, store: PackStore, database: Database, threads: Threads) -> None:
        self._store = store
        self._database = database
        self._threads = threads

    async def read(
        self, namespace_id: int, chunks: Sequence[Chunk], locate: Locate
    ) -> AsyncGenerator[memoryview, None]:
        """The bytes of `chunks` in order, whole chunks, up to 2 MiB at a time.

        Close the iterator (`aclosing`) to let go of what was read ahead.

        Raises DataLoss CHUNK_CORRUPT, and remembers the damage, so that the chunk is asked for again; NotFound
        CHUNK_NOT_FOUND for one that is not stored.
        """
        ahead: deque[tuple[Run, asyncio.Future[bytes]]] = deque()
        try:
            for run in runs(chunks, await locate([chunk.digest for chunk in chunks])):
                ahead.append((run, self._threads.start(self._read_run, run)))
                if len(ahead) > _AHEAD:
                    yield await self._settle(namespace_id, *ahead.popleft(), locate)
            while ahead:
                yield await self._settle(namespace_id, *ahead.popleft(), locate)
        finally:
            for _, reading in ahead:
                reading.cancel()

    async def _settle(self, namespace_id: int, run: Run, reading: asyncio.Future[bytes], locate: Locate) -> memoryview:
        """The run's bytes; from where they lie now, when their pack has been rewritten meanwhile."""
        try:
            try:
                return memoryview(await reading)
            except NotFound:
                moved = runs(run.chunks, await locate([chunk.digest for chunk in run.chunks]))
                return memoryview(b"".join([await self._threads.run(self._read_run, part) for part in moved]))
        except CorruptChunk as error:
            await self._database.write(chunk_rows.mark_damaged, namespace_id, error.digest)
            raise
        except NotFound as error:
            if error.reason != "PACK_NOT_FOUND":
                raise
            message = f"{error.message}, which the index names"
            raise DataLoss("PACK_LOST", message, metadata=error.metadata) from error

    def _read_run(self, run: Run) -> bytes:
        data = self._store.read(run.pack, run.offset, length_of(run.chunks))
        view, at = memoryview(data), 0
        for chunk in run.chunks:
            verify_chunk(chunk.digest, view[at : at + chunk.size], run.pack)
            at += chunk.size
        return data


def runs(chunks: Sequence[Chunk], places: Mapping[bytes, Location], limit: int = _RUN_BYTES) -> Iterator[Run]:
    """Join chunks that follow each other both in `chunks` and in a pack, `limit` bytes at most.

    Raises NotFound CHUNK_NOT_FOUND.
    """
    pack, start, end = "", 0, 0
    joined: list[Chunk] = []
    for chunk in chunks:
        place = places.get(chunk.digest)
        if place is None:
            raise NotFound("CHUNK_NOT_FOUND", f"chunk sha256:{chunk.digest.hex()} is not stored")
        if joined and (place.pack != pack or place.offset != end or end - start + chunk.size > limit):
            yield Run(pack, start, tuple(joined))
            joined = []
        if not joined:
            pack, start = place.pack, place.offset
        joined.append(chunk)
        end = place.offset + chunk.size
    if joined:
        yield Run(pack, start, tuple(joined))
