"""Commits a file: its recipe is streamed in, its content verified, and then it is there, whole.

What was hashed when it came, and lies in packs whose checksum the store confirmed, is verified. The rest is read back.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy import Connection

from nnpm.errors import FailedPrecondition, InvalidArgument
from nnpm.sql.database import Database
from nnpm_artifact.arrivals import Arrivals, Arrived
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.packs import PackBuilder, PackKind
from nnpm_artifact.reading import ChunkReader
from nnpm_artifact.recipes import MAX_FILE_BYTES, MAX_FILE_CHUNKS, PART_CHUNKS, Chunk, Part, encode_chunks, length_of
from nnpm_artifact.store import chunk_rows, file_rows, pack_rows, upload_rows
from nnpm_artifact.store.chunk_rows import Location
from nnpm_artifact.store.file_rows import FileRow
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.schema import PackState
from nnpm_artifact.store.upload_rows import Lease
from nnpm_artifact.threads import Threads
from nnpm_artifact.uploads import Uploads, check_chunks


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller says a file is: SHA-256 (32 bytes) and bytes of the whole."""

    digest: bytes
    size: int


class Commits:
    """Makes files of the chunks that an upload holds."""

    def __init__(
        self,
        database: Database,
        ledger: PackLedger,
        reader: ChunkReader,
        uploads: Uploads,
        threads: Threads,
        *,
        arrivals: Arrivals,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._reader = reader
        self._uploads = uploads
        self._arrivals = arrivals
        self._threads = threads

    async def commit(self, upload_id: str, claim: Claim, recipe: AsyncIterator[Sequence[Chunk]]) -> FileRow:
        """The file, held by the upload. Memory does not grow with its size. Committing it again is no error.

        Raises UPLOAD_NOT_FOUND, UPLOAD_EXPIRED, CHUNK_NOT_IN_UPLOAD (outside the lease), FILE_SIZE_MISMATCH,
        FILE_DIGEST_MISMATCH, CHUNK_CORRUPT, DISK_FULL.
        """
        if not 0 <= claim.size <= MAX_FILE_BYTES:
            raise InvalidArgument("INVALID_FILE_SIZE", f"a file has 0 to {MAX_FILE_BYTES} bytes, not {claim.size}")
        lease, known = await self._database.write(self._hold_known, upload_id, claim)
        builder = self._ledger.start(PackKind.RECIPE, lease.namespace)
        try:
            prefix = _Prefix(self._arrivals.arrived(upload_id, claim.digest), self._ledger.confirmed)
            await self._stage(lease, claim, recipe, builder, prefix)
            if not known:
                await self._verify(lease, claim, builder, prefix)
        except BaseException:
            builder.close()
            raise
        file = await self._ledger.keep(builder, lease.namespace_id, self._record(lease, claim, builder))
        self._arrivals.forget(upload_id, claim.digest)
        return file

    def _hold_known(self, connection: Connection, upload_id: str, claim: Claim) -> tuple[Lease, bool]:
        """The lease; and whether the file is there already, held by the upload, so that it stays."""
        lease = self._uploads.renew_in(connection, upload_id)
        file_id = file_rows.committed(connection, lease.namespace_id, [claim.digest]).get(claim.digest)
        if file_id is not None:
            upload_rows.hold_file(connection, upload_id, file_id)
        return lease, file_id is not None

    async def _stage(
        self,
        lease: Lease,
        claim: Claim,
        recipe: AsyncIterator[Sequence[Chunk]],
        builder: PackBuilder,
        prefix: "_Prefix",
    ) -> None:
        """Write the recipe's parts into the pack. Every chunk must be the upload's."""
        async with aclosing(_parts(claim, recipe)) as parts:
            async for part in parts:
                lease = await self._uploads.prolong(lease)
                held = await self._held(lease, [chunk.digest for chunk in part.chunks])
                _check_held(part.chunks, held)
                prefix.compare(part.chunks, held)
                await self._threads.run(self._add, builder, part)

    def _add(self, builder: PackBuilder, part: Part) -> None:
        encoded = part.encode()
        self._ledger.add(builder, {hashlib.sha256(encoded).digest(): encoded})

    async def _verify(self, lease: Lease, claim: Claim, builder: PackBuilder, prefix: "_Prefix") -> None:
        """The chunks that are staged must make the file that was said."""
        known, whole = prefix.verified
        parts = _staged(builder)
        while part := await self._threads.run(next, parts, None):
            lease = await self._uploads.prolong(lease)
            unknown = part.chunks[known:]
            known -= len(part.chunks) - len(unknown)
            if unknown:
                await self._read_back(lease, unknown, whole.update)
        if whole.digest() != claim.digest:
            raise _wrong_digest(claim, whole.digest())

    async def _read_back(self, lease: Lease, chunks: Sequence[Chunk], update: Callable[[memoryview], None]) -> None:
        async def locate(digests: Sequence[bytes]) -> Mapping[bytes, Location]:
            return await self._held(lease, digests)

        async with aclosing(self._reader.read(lease.namespace_id, chunks, locate)) as runs:
            async for content in runs:
                await self._threads.run(update, content)

    async def _held(self, lease: Lease, digests: Sequence[bytes]) -> Mapping[bytes, Location]:
        return await self._database.read(chunk_rows.locate_held, lease.upload_id, lease.namespace_id, digests)

    def _record(self, lease: Lease, claim: Claim, builder: PackBuilder) -> Callable[[Connection, PackRow], FileRow]:
        """What the transaction does that makes the file visible, or finds that it is already."""

        def record(connection: Connection, pack: PackRow) -> FileRow:
            self._uploads.renew_in(connection, lease.upload_id)
            file_id = file_rows.committed(connection, lease.namespace_id, [claim.digest]).get(claim.digest)
            if file_id is None:
                file_id = file_rows.add(connection, pack, _staged(builder), builder.created_ms)
            else:
                pack_rows.set_state(connection, pack.id, PackState.DELETING)
            upload_rows.hold_file(connection, lease.upload_id, file_id)
            return file_rows.get(connection, file_id)

        return record


class _Prefix:
    """Compares the beginning of a recipe with what has come of the file."""

    def __init__(self, arrived: Arrived, confirmed: Callable[[str], bool]) -> None:
        self._arrived = arrived
        self._confirmed = confirmed
        self._left = arrived.count
        self._sound = True
        self._recipe = hashlib.sha256()

    def compare(self, chunks: Sequence[Chunk], places: Mapping[bytes, Location]) -> None:
        """The next chunks of the recipe, and where they lie."""
        some = chunks[: self._left]
        self._left -= len(some)
        self._recipe.update(encode_chunks(some))
        found = {places[chunk.digest] for chunk in some}
        self._sound = self._sound and all(self._confirmed(place.pack) and not place.damaged for place in found)

    @property
    def verified(self) -> tuple[int, "hashlib._Hash"]:
        """How many chunks at the beginning of the whole recipe need not be read back, and the hash of their bytes."""
        if self._sound and not self._left and self._recipe.digest() == self._arrived.recipe.digest():
            return self._arrived.count, self._arrived.whole
        return 0, hashlib.sha256()


async def _parts(claim: Claim, recipe: AsyncIterator[Sequence[Chunk]]) -> AsyncGenerator[Part, None]:
    """The recipe in parts of even length; at least one, so that an empty file has a recipe as well.

    Raises InvalidArgument FILE_SIZE_MISMATCH when the chunks are not `claim.size` bytes together.
    """
    pending: list[Chunk] = []
    first_byte = count = 0
    async for chunks in recipe:
        check_chunks(chunks)
        pending.extend(chunks)
        count += len(chunks)
        if count > MAX_FILE_CHUNKS:
            raise InvalidArgument("TOO_MANY_CHUNKS", f"a file has at most {MAX_FILE_CHUNKS} chunks")
        while len(pending) >= PART_CHUNKS:
            part = Part(claim.digest, claim.size, first_byte, tuple(pending[:PART_CHUNKS]))
            del pending[:PART_CHUNKS]
            first_byte = _within(claim, part.end)
            yield part
    total = _within(claim, first_byte + length_of(pending))
    if total < claim.size:
        raise _wrong_size(claim, total)
    if pending or not total:
        yield Part(claim.digest, claim.size, first_byte, tuple(pending))


def _within(claim: Claim, size: int) -> int:
    if size > claim.size:
        raise _wrong_size(claim, size)
    return size


def _staged(builder: PackBuilder) -> Iterator[Part]:
    """The parts that a recipe pack holds so far."""
    for entry in builder.entries:
        yield Part.decode(builder.staged.read_at(entry.offset, entry.stored))


def _check_held(chunks: Sequence[Chunk], held: Mapping[bytes, Location]) -> None:
    for chunk in chunks:
        place = held.get(chunk.digest)
        if place is None:
            raise FailedPrecondition(
                "CHUNK_NOT_IN_UPLOAD",
                f"chunk sha256:{chunk.digest.hex()} was neither uploaded nor found by this upload",
                hint="ask for the missing chunks of this file and upload them, then commit again",
                metadata={"digest": f"sha256:{chunk.digest.hex()}"},
            )
        if place.size != chunk.size:
            raise InvalidArgument(
                "CHUNK_SIZE_MISMATCH", f"chunk sha256:{chunk.digest.hex()} has {place.size} bytes, not {chunk.size}"
            )


def _wrong_size(claim: Claim, size: int) -> InvalidArgument:
    return InvalidArgument(
        "FILE_SIZE_MISMATCH", f"the recipe's chunks are {size} bytes or more, the file was said to have {claim.size}"
    )


def _wrong_digest(claim: Claim, found: bytes) -> InvalidArgument:
    return InvalidArgument(
        "FILE_DIGEST_MISMATCH",
        f"the recipe makes a file sha256:{found.hex()}, not the sha256:{claim.digest.hex()} that was said",
        hint="the file may have changed while it was read: publish it again",
    )
