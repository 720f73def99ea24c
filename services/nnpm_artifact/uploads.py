"""Uploads: a lease holds every chunk that it was told exists and every chunk that it brought, until it ends."""

import secrets
from collections.abc import Sequence

from sqlalchemy import Connection

from nnpm.errors import InvalidArgument, NotFound
from nnpm.package.names import check_namespace
from nnpm.rpc.requests import check_request_id
from nnpm.sql.database import Database
from nnpm_artifact.clock import Clock
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.recipes import MAX_CHUNK_BYTES, Chunk
from nnpm_artifact.store import chunk_rows, upload_rows
from nnpm_artifact.store.rows import make_namespace
from nnpm_artifact.store.upload_rows import Lease

MAX_ASKED = 8192


class Uploads:
    """Opens, renews, asks and ends leases.

    Args:
        lease_ms: how long a lease lives after the last call that names it, milliseconds.
    """

    def __init__(self, database: Database, flushes: Flushes, clock: Clock, *, lease_ms: int) -> None:
        self._database = database
        self._flushes = flushes
        self._clock = clock
        self._lease_ms = lease_ms

    async def create(self, namespace: str, request_id: str) -> Lease:
        """A new lease, or the live one that was opened with the same request id."""
        check_namespace(namespace)
        check_request_id(request_id)
        now = self._clock()

        def open_lease(connection: Connection) -> Lease:
            lease = Lease(secrets.token_hex(16), make_namespace(connection, namespace), namespace, now + self._lease_ms)
            return upload_rows.create(connection, lease, request_id or None, now)

        return await self._database.write(open_lease)

    async def renew(self, upload_id: str) -> Lease:
        """The live lease, for its full time from now. Raises UPLOAD_NOT_FOUND, UPLOAD_EXPIRED."""
        return await self._database.write(self.renew_in, upload_id)

    async def prolong(self, lease: Lease) -> Lease:
        """The same lease, renewed when a quarter of its time is over: for calls that take long."""
        if lease.expires - self._clock() > self._lease_ms * 3 // 4:
            return lease
        return await self.renew(lease.upload_id)

    def renew_in(self, connection: Connection, upload_id: str) -> Lease:
        """As `renew`, within a transaction."""
        now = self._clock()
        return upload_rows.renew(connection, upload_id, now, now + self._lease_ms)

    async def find_missing(self, upload_id: str, chunks: Sequence[Chunk]) -> bytes:
        """One bit for each chunk, least significant first: 1 = missing. The others are held from now on."""
        check_chunks(chunks)
        # What a broken stream had brought is being stored: waiting saves sending it again.
        await self._flushes.settled(upload_id)

        def hold(connection: Connection) -> set[bytes]:
            lease = self.renew_in(connection, upload_id)
            return chunk_rows.hold_present(connection, upload_id, lease.namespace_id, chunks)

        present = await self._database.write(hold)
        bitmap = bytearray((len(chunks) + 7) // 8)
        for index, chunk in enumerate(chunks):
            if chunk.digest not in present:
                bitmap[index >> 3] |= 1 << (index & 7)
        return bytes(bitmap)

    async def delete(self, upload_id: str) -> None:
        """End a lease; ending it twice is no error. Raises UPLOAD_NOT_FOUND when there never was one."""
        if not await self._database.write(upload_rows.end, upload_id):
            raise NotFound("UPLOAD_NOT_FOUND", f"there is no upload {upload_id[:64]!r}")


def check_chunks(chunks: Sequence[Chunk]) -> None:
    """Raises InvalidArgument for too many chunks, or one that cannot be."""
    if len(chunks) > MAX_ASKED:
        raise InvalidArgument(
            "TOO_MANY_CHUNKS", f"{len(chunks)} chunks in one message; at most {MAX_ASKED} are allowed"
        )
    for chunk in chunks:
        if len(chunk.digest) != 32:
            raise InvalidArgument("INVALID_DIGEST", f"a chunk's digest has 32 bytes, not {len(chunk.digest)}")
        if not 1 <= chunk.size <= MAX_CHUNK_BYTES:
            raise InvalidArgument("INVALID_CHUNK_SIZE", f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {chunk.size}")
