"""Where a file's bytes lie in the store, for readers that reach it themselves."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from nnpm.errors import FailedPrecondition
from nnpm.sql.database import Database
from nnpm_artifact.files import Files
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.reading import Run, runs
from nnpm_artifact.recipes import Chunk, length_of
from nnpm_artifact.store import chunk_rows
from nnpm_artifact.threads import Threads

_RANGE_BYTES = 8 << 20
"""What a reader asks of the store in one go: it keeps two in memory."""


@dataclass(frozen=True, slots=True)
class SharedRange:
    """Chunks that lie one after the other in a pack, and a URL that opens just these bytes."""

    url: str
    first_byte: int
    file_offset: int
    chunks: Sequence[Chunk]


class DirectReads:
    """Hands out ranges of the store."""

    def __init__(self, store: PackStore, database: Database, files: Files, threads: Threads) -> None:
        self._store = store
        self._database = database
        self._files = files
        self._threads = threads

    async def locate(self, namespace: str, digest: bytes, offset: int) -> AsyncGenerator[list[SharedRange], None]:
        """The file's ranges from the chunk in which `offset` lies, in parts.

        Raises DIRECT_READS_OFF, FILE_NOT_FOUND, INVALID_FILE_RANGE, OFFSET_PAST_END, CHUNK_NOT_FOUND.
        """
        if not self._store.shares:
            raise FailedPrecondition("DIRECT_READS_OFF", "this service gives no URLs of its store")
        async with aclosing(self._files.pieces(namespace, digest, offset)) as pieces:
            async for namespace_id, first, chunks in pieces:
                places = await self._database.read(chunk_rows.locate, namespace_id, [one.digest for one in chunks])
                yield await self._threads.run(self._share, list(runs(chunks, places, _RANGE_BYTES)), first)

    def _share(self, found: Sequence[Run], at: int) -> list[SharedRange]:
        shared = []
        for run in found:
            length = length_of(run.chunks)
            shared.append(SharedRange(self._store.share(run.pack, run.offset, length), run.offset, at, run.chunks))
            at += length
        return shared
