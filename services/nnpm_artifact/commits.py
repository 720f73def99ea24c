"""Commits a file: its recipe is streamed in, its content read back and verified, and then it is there, whole."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy import Connection

from nnpm.errors import FailedPrecondition, InvalidArgument
from nnpm.sql.database import Database
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.packs import PackBuilder, PackKind
from nnpm_artifact.reading import ChunkReader
from nnpm_artifact.recipes import MAX_FILE_BYTES, MAX_FILE_CHUNKS, PART_CHUNKS, Chunk, Part, length_of
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
        self, database: Database, ledger: PackLedger, reader: ChunkReader, uploads: Uploads, threads: Threads
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._reader = reader
        self._uploads = uploads
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
            await self._verify(lease, claim, recipe, builder, known=known)
        except BaseException:
            builder.close()
            raise
        return await self._ledger.keep(builder, lease.namespace_id, self._record(lease, claim, builder))

    def _hold_known(self, connection: Connection, upload_id: str, claim: Claim) -> tuple[Lease, bool]:
        """The lease; and whether the file is there already, held by the upload, so that it stays."""
        lease = self._uploads.renew_in(connection, upload_id)
        file_id = file_rows.committed(connection, lease.namespace_id, [claim.digest]).get(claim.digest)
        if file_id is not None:
            upload_rows.hold_file(connection, upload_id, file_id)
        return lease, file_id is not None

    async def _verify(
        self,
        lease: Lease,
        claim: Claim,
        recipe: AsyncIterator[Sequence[Chunk]],
        builder: PackBuilder,
        *,
        known: bool,
    ) -> None:
        """Check the recipe and, unless the file is there already, the content; write the parts into the pack."""
        whole = hashlib.sha256()
        async with aclosing(_parts(claim, recipe)) as parts:
            async for part in parts:
                lease = await self._uploads.prolong(lease)
                await self._check_part(lease, part, None if known else whole.update)
                await self._threads.run(self._stage, builder, part)
        if not known and whole.digest() != claim.digest:
            raise _wrong_digest(claim, whole.digest())

    async def _check_part(self, lease: Lease, part: Part, update: Callable[[memoryview], None] | None) -> None:
        """Every chunk must be the upload's; with `update` the part's content is read, verified and handed to it."""

        async def locate(digests: Sequence[bytes]) -> Mapping[bytes, Location]:
            return await self._database.read(chunk_rows.locate_held, lease.upload_id, lease.namespace_id, digests)

        _check_held(part.chunks, await locate([chunk.digest for chunk in part.chunks]))
        if update is None:
            return
        async with aclosing(self._reader.read(lease.namespace_id, part.chunks, locate)) as runs:
            async for content in runs:
                await self._threads.run(update, content)

    def _stage(self, builder: PackBuilder, part: Part) -> None:
        encoded = part.encode()
        self._ledger.add(builder, {hashlib.sha256(encoded).digest(): encoded})

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
    """The parts that a finished recipe pack holds, from its staging file."""
    with builder.path.open("rb") as file:
        for entry in builder.entries:
            file.seek(entry.offset)
            yield Part.decode(file.read(entry.stored))


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
