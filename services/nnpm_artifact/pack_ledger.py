"""A pack's way into the store and out of it, so that a crash at any point leaves nothing unknown.

In:  row WRITING -> object put -> row READY, in the transaction that makes its contents visible.
Out: row DELETING, in the transaction that takes the last of its contents away -> object deleted -> row removed.

Hence every object in the store has a row, and whatever is WRITING when the service starts is left from a crash.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Connection

from nnpm.errors import DataLoss, NnpmError, NotFound
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.clock import Clock
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.packs import PackBuilder, PackKind, new_name, read_footer, start_pack, stored_bytes
from nnpm_artifact.store import chunk_rows, pack_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.schema import PackState
from nnpm_artifact.threads import Threads

T = TypeVar("T")

_AT_ONCE = 100
_FLUSH = "pack"


class PackLedger:
    """Keeps the rows of packs and their objects in step."""

    def __init__(self, store: PackStore, database: Database, threads: Threads, flushes: Flushes, clock: Clock) -> None:
        self._store = store
        self._database = database
        self._threads = threads
        self._flushes = flushes
        self._clock = clock
        self._log = get_logger("packs")

    def start(self, kind: PackKind, namespace: str) -> PackBuilder:
        """A builder for a new pack; its user closes it, or lets `keep` do so. Raises ResourceExhausted DISK_FULL."""
        return start_pack(self._store.staging, kind, namespace, self._clock())

    def add(self, builder: PackBuilder, entries: Mapping[bytes, bytes]) -> None:
        """Add entries (digest -> raw bytes, verified). Blocks. Raises ResourceExhausted DISK_FULL."""
        self._store.check_space(sum(map(len, entries.values())))
        for digest, data in entries.items():
            builder.add(digest, data)

    async def keep(self, builder: PackBuilder, namespace_id: int, record: Callable[[Connection, PackRow], T]) -> T:
        """Make a pack durable and visible: `record` runs in the transaction that sets it READY. Closes the builder.

        When anything fails the object is due for deletion, and the error is the caller's. A caller that is cancelled
        does not stop it midway.
        """
        return await asyncio.shield(self._flushes.start(_FLUSH, self._keep(builder, namespace_id, record)))

    async def _keep(self, builder: PackBuilder, namespace_id: int, record: Callable[[Connection, PackRow], T]) -> T:
        try:
            await self._threads.run(builder.finish)
            pack = await self._begin(builder, namespace_id)
            try:
                await self._threads.run(self._store.put, pack.name, builder.path)
                return await self._database.write(record, pack)
            except NnpmError:
                with suppress(NnpmError):  # the index may be what failed; the next start finds the row as it is
                    await self._database.write(pack_rows.set_state, pack.id, PackState.DELETING)
                raise
        finally:
            builder.close()

    async def _begin(self, builder: PackBuilder, namespace_id: int) -> PackRow:
        content = stored_bytes(builder.entries)
        return await self._database.write(
            pack_rows.begin, new_name(builder.kind), namespace_id, builder.kind, size=builder.size, content=content
        )

    async def delete_due(self) -> tuple[int, int]:
        """Delete the objects of all packs that are due for it: how many, and their bytes.

        Goes on where an earlier run was cut off.
        """
        count = freed = 0
        while due := await self._database.read(pack_rows.in_state, PackState.DELETING, _AT_ONCE):
            for pack in due:
                await self._threads.run(self._store.delete, pack.name)
            await self._database.write(pack_rows.forget, [pack.id for pack in due])
            count += len(due)
            freed += sum(pack.size for pack in due)
        return count, freed

    async def recover(self) -> None:
        """At the start: whole packs of chunks that a crash left unindexed are taken in, other leftovers are deleted.

        Their chunks need not be sent again then: whoever resumes the upload is told that they are there.
        """
        while left := await self._database.read(pack_rows.in_state, PackState.WRITING, _AT_ONCE):
            for pack in left:
                if not await self._adopt(pack):
                    await self._database.write(pack_rows.set_state, pack.id, PackState.DELETING)
        await self.delete_due()

    async def _adopt(self, pack: PackRow) -> bool:
        """Whether the pack is whole, and its chunks are in the index now."""
        if pack.kind is not PackKind.CHUNKS:
            return False
        try:
            size = await self._threads.run(self._store.size, pack.name)
            footer = await self._threads.run(read_footer, self._store, pack.name, size)
        except (NotFound, DataLoss):
            return False
        await self._database.write(chunk_rows.index_pack, pack, footer.entries, None)
        self._log.info("took in a pack left by a crash", pack=pack.name, chunks=len(footer.entries))
        return True
