"""One stream of chunks: verified on arrival, gathered into packs, durable in the end.

A pack is stored while the next one fills. When the stream breaks, what has arrived whole is stored all the same, so
that nobody has to send it again.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from nnpm.errors import InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.arrivals import Arrivals, Place
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.packs import Entry, PackBuilder, PackKind, stored_bytes
from nnpm_artifact.recipes import Chunk, length_of
from nnpm_artifact.store import chunk_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.upload_rows import Lease
from nnpm_artifact.threads import Threads
from nnpm_artifact.uploads import Uploads, check_chunks

MAX_MESSAGE_BYTES = 4 << 20
"""Chunks that may come together in one message."""
_TURN_S = 10.0


@dataclass(frozen=True, slots=True)
class Brought:
    """A chunk as it arrives: SHA-256 (32 bytes), data, and where it stands, if the sender says so."""

    digest: bytes
    data: bytes
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a stream has stored that was not there before."""

    chunks: int
    bytes: int


class Intakes:
    """Opens the intake of a stream: what all of them share."""

    def __init__(
        self,
        database: Database,
        ledger: PackLedger,
        uploads: Uploads,
        flushes: Flushes,
        threads: Threads,
        *,
        arrivals: Arrivals,
    ) -> None:
        self.database = database
        self.ledger = ledger
        self.uploads = uploads
        self.flushes = flushes
        self.arrivals = arrivals
        self.threads = threads
        self._latest: dict[str, Intake] = {}

    def open(self, lease: Lease) -> "Intake":
        """An intake for a stream of `lease`, which was renewed just now."""
        before = self._latest.get(lease.upload_id)
        intake = self._latest[lease.upload_id] = Intake(self, lease, before.received if before else None)
        return intake

    def close(self, intake: "Intake") -> None:
        """Its stream is over."""
        if self._latest.get(intake.upload_id) is intake:
            del self._latest[intake.upload_id]


class Intake:
    """The chunks of one stream. `take` them, then `finish`; or `abandon` when the stream broke.

    Four things go on at once, each at most one message or pack deep: a message arrives, the one before is verified and
    written, the one before that goes into the hash of its file, the pack before is stored.
    """

    def __init__(self, parts: Intakes, lease: Lease, before: asyncio.Event | None) -> None:
        self.upload_id = lease.upload_id
        self.received = asyncio.Event()
        """Set once no more chunks come."""
        self._parts = parts
        self._lease = lease
        self._before = before
        self._builder: PackBuilder | None = None
        self._building: set[bytes] = set()
        self._adding: asyncio.Future[list[Brought]] | None = None
        self._hashing: asyncio.Future[None] | None = None
        self._flush: asyncio.Task[list[Entry]] | None = None
        self._flushing: set[bytes] = set()
        self._chunks = 0
        self._bytes = 0

    async def take(self, brought: Sequence[Brought]) -> None:
        """Begin to verify chunks and to add them to the pack; what is wrong with them is raised by the next call.

        Raises InvalidArgument CHUNK_DIGEST_MISMATCH; ResourceExhausted DISK_FULL; what storing the pack before raised.
        """
        _check(brought)
        if any(one.place is not None for one in brought):
            await self._turn()
        fresh: dict[bytes, Brought] = {}
        for one in brought:
            if not self._has(one.digest):
                fresh.setdefault(one.digest, one)
        for digest in await self._known([Chunk(digest, len(one.data)) for digest, one in fresh.items()]):
            del fresh[digest]
        await self._added()
        if self._builder is not None and self._builder.full:
            await self._store_pack()
        if fresh:
            self._add(fresh)
        self._lease = await self._parts.uploads.prolong(self._lease)

    async def finish(self) -> Stored:
        """Return once all is durable."""
        try:
            await self._added()
            await self._hashed()
        finally:
            self.received.set()
            self._parts.close(self)
        await self._store_pack()
        await self._flushed()
        return Stored(self._chunks, self._bytes)

    async def abandon(self) -> None:
        """Store what has arrived whole, for a stream that broke; errors are only logged, there is nobody to tell."""
        last = self._parts.flushes.start(self.upload_id, self._save())
        await asyncio.wait([last])

    async def _save(self) -> None:
        log = get_logger("uploads")
        try:
            await self._added()
        except NnpmError as error:
            log.info("the last message of a broken stream was wrong", reason=error.reason)
        try:
            await self.finish()
        except NnpmError as error:
            log.warning("what a broken stream brought was not stored", reason=error.reason, error=error.message)

    async def _turn(self) -> None:
        """Wait, not for long, until the stream that was opened before has brought all of its chunks.

        A publisher begins a stream when it has sent the one before, of which a few messages may still be waiting here.
        """
        if self._before is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_TURN_S):
                await self._before.wait()
        self._before = None

    def _has(self, digest: bytes) -> bool:
        """Whether this stream brought it already, and the index does not know yet."""
        return digest in self._building or digest in self._flushing

    async def _known(self, chunks: Sequence[Chunk]) -> set[bytes]:
        """Those that are stored already; the lease holds them from now on."""
        database, lease = self._parts.database, self._lease
        digests = [chunk.digest for chunk in chunks]
        if not await database.read(chunk_rows.present, lease.namespace_id, digests):
            return set()
        return await database.write(chunk_rows.hold_present, lease.upload_id, lease.namespace_id, chunks)

    def _add(self, fresh: dict[bytes, Brought]) -> None:
        if self._builder is None:
            self._builder = self._parts.ledger.start(PackKind.CHUNKS, self._lease.namespace)
        self._building.update(fresh)
        self._adding = self._parts.threads.start(self._verify_and_add, self._builder, fresh)

    def _verify_and_add(self, builder: PackBuilder, fresh: dict[bytes, Brought]) -> list[Brought]:
        for one in fresh.values():
            _verify(one)
        self._parts.ledger.add(builder, {digest: one.data for digest, one in fresh.items()})
        return list(fresh.values())

    def _hash(self, added: Sequence[Brought]) -> None:
        for one in added:
            if one.place is not None:
                self._parts.arrivals.take(self.upload_id, one.place, Chunk(one.digest, len(one.data)), one.data)

    async def _added(self) -> None:
        """Wait until the last message is in the pack; begin to hash what it has of files."""
        if self._adding is None:
            return
        adding = self._adding
        await asyncio.wait([adding])  # a cancelled call leaves it running, for `abandon` to wait for
        self._adding = None
        try:
            added = adding.result()
        except (ResourceExhausted, Unavailable):
            self._drop_pack()
            raise
        await self._hashed()
        self._hashing = self._parts.threads.start(self._hash, added)

    async def _hashed(self) -> None:
        """Wait until what was added is hashed."""
        if self._hashing is not None:
            await asyncio.wait([self._hashing])
            self._hashing.result()
            self._hashing = None

    async def _store_pack(self) -> None:
        """Begin to store the pack that was filled, once the one before is stored: two at most are on this disk."""
        if self._builder is None:
            return
        try:
            await self._flushed()
        except NnpmError:
            self._drop_pack()
            raise
        builder, self._builder = self._builder, None
        self._flushing, self._building = self._building, set()
        keep = self._parts.ledger.keep(builder, self._lease.namespace_id, self._record(builder.entries))
        self._flush = self._parts.flushes.start(self.upload_id, keep)

    def _drop_pack(self) -> None:
        """Give up the pack that fills, when there is no place for it."""
        if self._builder is not None:
            self._builder.close()
        self._builder, self._building = None, set()

    async def _flushed(self) -> None:
        """Wait for the pack that is being stored, and count it."""
        if self._flush is None:
            return
        new = await asyncio.shield(self._flush)
        self._flush, self._flushing = None, set()
        self._chunks += len(new)
        self._bytes += stored_bytes(new)

    def _record(self, entries: Sequence[Entry]) -> Callable[[Connection, PackRow], list[Entry]]:
        """What the transaction does that makes a pack of this stream visible."""
        uploads, upload_id = self._parts.uploads, self.upload_id

        def record(connection: Connection, pack: PackRow) -> list[Entry]:
            uploads.renew_in(connection, upload_id)
            return chunk_rows.index_pack(connection, pack, entries, upload_id)

        return record


def _check(brought: Sequence[Brought]) -> None:
    """Raises InvalidArgument when a message breaks a limit."""
    chunks = [Chunk(one.digest, len(one.data)) for one in brought]
    check_chunks(chunks)
    if (size := length_of(chunks)) > MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            "TOO_MANY_CHUNKS", f"chunks of {size} bytes in one message; at most {MAX_MESSAGE_BYTES} bytes are allowed"
        )
    for one in brought:
        if one.place is not None and (len(one.place.file) != 32 or one.place.offset < 0):
            raise InvalidArgument("INVALID_PLACE", "a chunk's place is the 32 bytes of a file's digest and an offset")


def _verify(brought: Brought) -> None:
    if hashlib.sha256(brought.data).digest() != brought.digest:
        name = f"sha256:{brought.digest.hex()}"
        raise InvalidArgument(
            "CHUNK_DIGEST_MISMATCH",
            f"a chunk of {len(brought.data)} bytes arrived that is not what its digest {name} names",
            hint="it was changed on its way, or the file changed while it was read: send it again",
            metadata={"digest": name},
        )
