"""Uploads: leases on chunks and files, with an end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from nnpm.errors import FailedPrecondition, NotFound
from nnpm_artifact.store.rows import batches
from nnpm_artifact.store.schema import chunks, files, namespaces, pins, upload_files, uploads


@dataclass(frozen=True, slots=True)
class Lease:
    """A live upload."""

    upload_id: str
    namespace_id: int
    namespace: str
    expires: int
    """Unix milliseconds."""


def create(connection: Connection, lease: Lease, request_id: str | None, now: int) -> Lease:
    """Open `lease`, or answer the live one that has the same request id."""
    if request_id:
        found = connection.execute(
            select(uploads.c.id, uploads.c.expires).where(
                uploads.c.namespace_id == lease.namespace_id, uploads.c.request_id == request_id
            )
        ).first()
        if found is not None and found.expires > now:
            return renew(connection, found.id, now, lease.expires)
        if found is not None:
            connection.execute(update(uploads).where(uploads.c.id == found.id).values(request_id=None))
    connection.execute(
        insert(uploads).values(
            id=lease.upload_id,
            namespace_id=lease.namespace_id,
            request_id=request_id,
            expires=lease.expires,
            deleted=False,
        )
    )
    return lease


def get(connection: Connection, upload_id: str, now: int) -> Lease:
    """The live upload. Raises NotFound UPLOAD_NOT_FOUND, FailedPrecondition UPLOAD_EXPIRED."""
    row = connection.execute(
        select(uploads.c.namespace_id, uploads.c.expires, uploads.c.deleted, namespaces.c.name)
        .join(namespaces, namespaces.c.id == uploads.c.namespace_id)
        .where(uploads.c.id == upload_id)
    ).first()
    if row is None or row.deleted:
        raise NotFound(
            "UPLOAD_NOT_FOUND",
            f"there is no upload {upload_id[:64]!r}",
            hint="create an upload; what was stored before is not asked for again",
        )
    if row.expires <= now:
        raise FailedPrecondition(
            "UPLOAD_EXPIRED",
            f"upload {upload_id} has expired",
            hint="create another; what was stored before is not asked for again unless it was collected meanwhile",
            metadata={"upload_id": upload_id},
        )
    return Lease(upload_id, row.namespace_id, row.name, row.expires)


def renew(connection: Connection, upload_id: str, now: int, expires: int) -> Lease:
    """Move a live upload's end to `expires`, unless it is later already. Raises as `get` does."""
    lease = get(connection, upload_id, now)
    end = max(lease.expires, expires)
    connection.execute(update(uploads).where(uploads.c.id == upload_id).values(expires=end))
    return Lease(upload_id, lease.namespace_id, lease.namespace, end)


def pin(connection: Connection, upload_id: str, chunk_ids: Sequence[int]) -> None:
    """Let the upload hold these chunks."""
    for batch in batches(chunk_ids):
        held = set(
            connection.scalars(select(pins.c.chunk_id).where(pins.c.upload_id == upload_id, pins.c.chunk_id.in_(batch)))
        )
        fresh = [{"upload_id": upload_id, "chunk_id": chunk_id} for chunk_id in batch if chunk_id not in held]
        if fresh:
            connection.execute(insert(pins), fresh)
            connection.execute(update(chunks).where(chunks.c.id.in_(batch)).values(free_since=None))


def hold_file(connection: Connection, upload_id: str, file_id: int) -> None:
    """Let the upload hold a committed file."""
    held = select(upload_files.c.file_id).where(
        upload_files.c.upload_id == upload_id, upload_files.c.file_id == file_id
    )
    if connection.execute(held).first() is None:
        connection.execute(insert(upload_files).values(upload_id=upload_id, file_id=file_id))
    connection.execute(update(files).where(files.c.id == file_id).values(free_since=None))


def end(connection: Connection, upload_id: str) -> bool:
    """Give an upload back; it holds nothing any more. False when there never was one."""
    known = connection.execute(
        update(uploads).where(uploads.c.id == upload_id).values(deleted=True, request_id=None)
    ).rowcount
    _release(connection, [upload_id])
    return bool(known)


def end_expired(connection: Connection, now: int) -> None:
    """Release what expired uploads hold. Their rows stay for a while, to be told from those that never were."""
    expired = select(uploads.c.id).where(uploads.c.expires <= now)
    holding = set(connection.scalars(select(pins.c.upload_id).where(pins.c.upload_id.in_(expired)).distinct()))
    holding |= set(
        connection.scalars(select(upload_files.c.upload_id).where(upload_files.c.upload_id.in_(expired)).distinct())
    )
    _release(connection, holding)


def forget(connection: Connection, expired_before: int) -> None:
    """Remove the rows of uploads that ended long ago."""
    connection.execute(delete(uploads).where(uploads.c.expires <= expired_before))


def _release(connection: Connection, upload_ids: Iterable[str]) -> None:
    for upload_id in upload_ids:
        connection.execute(delete(pins).where(pins.c.upload_id == upload_id))
        connection.execute(delete(upload_files).where(upload_files.c.upload_id == upload_id))
