"""Garbage collection: takes what neither a reference nor a live upload holds, and nothing else.

It marks what is free, and takes what has been free for a grace period: files, then the chunks that no recipe uses any
more, then the packs that are empty; packs that are mostly empty are rewritten. What is free is decided and taken in one
transaction, so that an upload which pins a chunk comes either before it (and keeps the chunk) or after it (and is told
that it is missing). Objects go last: a crash at any point leaves work for the next run, never a row without its bytes.
"""

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection

from nnpm.errors import DataLoss, NotFound
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.clock import Clock
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.packs import Entry, PackBuilder, PackKind, open_entry, stored_bytes
from nnpm_artifact.store import chunk_rows, file_rows, pack_rows, upload_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.threads import Threads

LEAST_SHARE = 0.5
"""A pack of which less than this is still in use is rewritten: at most half of the store is waste."""

_CHUNKS_AT_ONCE = 5000
_PACKS_AT_ONCE = 10_000
_KEEP_ENDED_MS = 7 * 24 * 3600 * 1000
"""How long an expired upload is told from one that never was."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection took, or would take."""

    files: int = 0
    chunks: int = 0
    packs: int = 0
    bytes: int = 0
    waiting_files: int = 0
    """Files that nothing holds, for less than the grace period."""


class Collection:
    """Collects garbage, one run at a time.

    Args:
        grace_ms: how long a thing must be free before it is taken, milliseconds.
    """

    def __init__(
        self,
        database: Database,
        store: PackStore,
        ledger: PackLedger,
        threads: Threads,
        clock: Clock,
        *,
        grace_ms: int,
    ) -> None:
        self._database = database
        self._store = store
        self._ledger = ledger
        self._threads = threads
        self._clock = clock
        self._grace_ms = grace_ms
        self._running = asyncio.Lock()
        self._log = get_logger("garbage")

    async def collect(self, *, dry_run: bool = False, grace_ms: int | None = None) -> Collected:
        """Take what is free (or say what would go). `grace_ms` None: the configured one."""
        now = self._clock()
        free_before = now - (self._grace_ms if grace_ms is None else grace_ms)
        async with self._running:
            if dry_run:
                return await self._database.rehearse(_rehearse, now, free_before)
            await self._database.write(_mark, now)
            files, chunks = await self._take(free_before)
            added = await self._rewrite()
            packs, freed = await self._ledger.delete_due()
            waiting = await self._database.read(file_rows.count_free)
        collected = Collected(files, chunks, packs, freed - added, waiting)
        if packs:
            self._log.info("collected garbage", files=files, chunks=chunks, packs=packs, bytes=collected.bytes)
        return collected

    async def _take(self, free_before: int) -> tuple[int, int]:
        """Take files and chunks out of the index, in short transactions, so that uploads go on beside it."""
        files = chunks = 0
        while await self._database.write(file_rows.delete_free, free_before):
            files += 1
        while gone := await self._database.write(chunk_rows.delete_free, free_before, _CHUNKS_AT_ONCE):
            chunks += gone
        await self._database.write(pack_rows.condemn_empty)
        return files, chunks

    async def _rewrite(self) -> int:
        """Copy what is still in use out of packs that are mostly waste; the bytes of the new packs."""
        added = after = 0
        while sparse := await self._database.read(pack_rows.sparse, LEAST_SHARE, after, 1):
            old = sparse[0]
            after = old.id
            try:
                added += await self._rewrite_pack(old)
            except NotFound:
                continue  # another process has rewritten it since
            except DataLoss as error:
                self._log.error("a pack cannot be rewritten, it stays as it is", pack=old.name, error=str(error))
        return added

    async def _rewrite_pack(self, old: PackRow) -> int:
        kept = await self._database.read(chunk_rows.of_pack, old.id)
        namespace = await self._database.read(pack_rows.namespace_of, old)
        builder = self._ledger.start(PackKind.CHUNKS, namespace)

        def record(connection: Connection, new: PackRow) -> None:
            chunk_rows.move(connection, old, new, builder.entries)

        try:
            await self._threads.run(self._copy, old, kept, builder)
        except BaseException:
            builder.close()
            raise
        await self._ledger.keep(builder, old.namespace_id, record)
        return builder.size

    def _copy(self, old: PackRow, kept: list[Entry], builder: PackBuilder) -> None:
        for entry in kept:
            data = open_entry(entry, self._store.read(old.name, entry.offset, entry.stored), old.name)
            self._ledger.add(builder, {entry.digest: bytes(data)})


def _mark(connection: Connection, now: int) -> None:
    upload_rows.end_expired(connection, now)
    upload_rows.forget(connection, now - _KEEP_ENDED_MS)
    file_rows.mark_free(connection, now)
    chunk_rows.mark_free(connection, now)


def _rehearse(connection: Connection, now: int, free_before: int) -> Collected:
    """What a collection would do, in one transaction that is taken back."""
    _mark(connection, now)
    files = chunks = 0
    while file_rows.delete_free(connection, free_before):
        files += 1
    while gone := chunk_rows.delete_free(connection, free_before, _CHUNKS_AT_ONCE):
        chunks += gone
    pack_rows.condemn_empty(connection)
    packs, freed = pack_rows.due(connection)
    for pack in pack_rows.sparse(connection, LEAST_SHARE, 0, _PACKS_AT_ONCE):
        packs += 1
        freed += pack.content - stored_bytes(chunk_rows.of_pack(connection, pack.id))
    return Collected(files, chunks, packs, freed, file_rows.count_free(connection))
