"""A pack's way into the store and out of it, so that a crash at any point leaves nothing unknown.

In:  row WRITING -> object put -> row READY, in the transaction that makes its contents visible.
Out: row DELETING, in the transaction that takes the last of its contents away -> object deleted -> row removed.

Hence every object in the store has a row, and whatever is WRITING when its writer is dead is left from a crash.

Several processes may share a store and a database. Each has a seat, a name that its rows carry and that it keeps alive
by renewing; what a dead one left, any other takes in. Life is only a guess (a process may be slow, not dead), so
nothing hangs on it: the transaction that makes a pack visible looks whether the row is still WRITING, or was taken in.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Connection

from nnpm.errors import DataLoss, NnpmError, NotFound, Unavailable
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.clock import Clock
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.packs import MOST_BYTES, Footer, PackBuilder, PackKind, new_name, read_footer, stored_bytes
from nnpm_artifact.store import chunk_rows, pack_rows, writer_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.schema import PackState
from nnpm_artifact.threads import Threads

T = TypeVar("T")

_AT_ONCE = 100
_FLUSH = "pack"
_REMEMBERED = 16_384
"""Packs, half a TiB of them, of which a process knows that the store confirmed them."""
SEAT_LEASE_MS = 15_000


class PackLedger:
    """Keeps the rows of packs and their objects in step.

    Args:
        seat: this process among those that share the store; the same again after a restart.
    """

    def __init__(
        self,
        store: PackStore,
        database: Database,
        threads: Threads,
        flushes: Flushes,
        clock: Clock,
        *,
        seat: str = "alone",
    ) -> None:
        self._store = store
        self._database = database
        self._threads = threads
        self._flushes = flushes
        self._clock = clock
        self._seat = seat
        self._confirmed: dict[str, None] = {}  # the oldest first
        self._log = get_logger("packs")

    def start(self, kind: PackKind, namespace: str) -> PackBuilder:
        """A builder for a new pack; its user closes it, or lets `keep` do so. Raises ResourceExhausted DISK_FULL."""
        limit = MOST_BYTES if kind is PackKind.CHUNKS else None
        staged = self._store.stage(limit)
        try:
            return PackBuilder(staged, kind, namespace, self._clock())
        except BaseException:
            staged.close()
            raise

    def add(self, builder: PackBuilder, entries: Mapping[bytes, bytes]) -> None:
        """Add entries (digest -> raw bytes, verified). Blocks. Raises ResourceExhausted DISK_FULL."""
        self._store.check_space(sum(map(len, entries.values())))
        builder.extend(entries)

    async def keep(self, builder: PackBuilder, namespace_id: int, record: Callable[[Connection, PackRow], T]) -> T:
        """Make a pack durable and visible: `record` runs in the transaction that sets it READY. Closes the builder.

        When anything fails the object is due for deletion, and the error is the caller's; where it cannot be known
        whether the transaction took effect, what it made visible stays. A caller that is cancelled does not stop it
        midway.
        """
        return await asyncio.shield(self._flushes.start(_FLUSH, self._keep(builder, namespace_id, record)))

    async def _keep(self, builder: PackBuilder, namespace_id: int, record: Callable[[Connection, PackRow], T]) -> T:
        try:
            await self._threads.run(builder.finish)
            pack = await self._begin(builder, namespace_id)
            try:
                if await self._threads.run(self._store.put, pack.name, builder.staged):
                    self._remember(pack.name)
                return await self._database.write(_make_visible, pack, record)
            except NnpmError:
                with suppress(NnpmError):  # the index may be what failed; the next start finds the row as it is
                    await self._give_up(pack)
                raise
        finally:
            builder.close()

    def confirmed(self, name: str) -> bool:
        """Whether this process put the pack and the store confirmed its checksum; it may forget that in time."""
        return name in self._confirmed

    def _remember(self, name: str) -> None:
        self._confirmed[name] = None
        if len(self._confirmed) > _REMEMBERED:
            self._confirmed.pop(next(iter(self._confirmed)))

    async def _begin(self, builder: PackBuilder, namespace_id: int) -> PackRow:
        content = stored_bytes(builder.entries)
        return await self._database.write(
            pack_rows.begin,
            new_name(builder.kind),
            namespace_id,
            builder.kind,
            size=builder.size,
            content=content,
            writer=self._seat,
        )

    async def _give_up(self, pack: PackRow) -> None:
        if not await self._database.write(pack_rows.give_up, pack.id):
            # Another process gave it up and deleted what it found, which may have been before the object was put.
            await self._threads.run(self._store.delete, pack.name)

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
        await self.hold_seat()
        await self._take_over(self._seat)
        await self.delete_due()

    async def hold_seat(self) -> None:
        """Say that this process lives, and take over what dead ones left."""
        now = self._clock()
        await self._database.write(writer_rows.renew, self._seat, now, now + SEAT_LEASE_MS)
        await self._take_over(None)

    async def _take_over(self, own: str | None) -> None:
        while left := await self._database.read(writer_rows.abandoned, self._clock(), own, _AT_ONCE):
            for pack_id in left:
                pack = await self._database.read(pack_rows.find, pack_id)
                if pack is not None and not await self._adopt(pack):
                    await self._database.write(pack_rows.give_up, pack.id)

    async def _adopt(self, pack: PackRow) -> bool:
        """Whether the pack is whole, and its chunks are in the index now."""
        if pack.kind is not PackKind.CHUNKS:
            return False
        try:
            size = await self._threads.run(self._store.size, pack.name)
            footer = await self._threads.run(read_footer, self._store, pack.name, size)
        except (NotFound, DataLoss):
            return False
        if await self._database.write(_take_in, pack, footer):
            self._log.info("took in a pack left by a crash", pack=pack.name, chunks=len(footer.entries))
        return True


def _make_visible(connection: Connection, pack: PackRow, record: Callable[[Connection, PackRow], T]) -> T:
    state = pack_rows.state_of(connection, pack.id)
    taken_in = state is PackState.READY and pack.kind is PackKind.CHUNKS
    if state is not PackState.WRITING and not taken_in:
        raise Unavailable(
            "PACK_GIVEN_UP",
            f"pack {pack.name} took so long to store that another process of the artifact service gave it up",
            hint="do the same again",
            retry_after=1,
        )
    return record(connection, pack)


def _take_in(connection: Connection, pack: PackRow, footer: Footer) -> bool:
    if pack_rows.state_of(connection, pack.id) is not PackState.WRITING:
        return False  # its writer lives, or another process was faster
    chunk_rows.index_pack(connection, pack, footer.entries, None)
    return True
