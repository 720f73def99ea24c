"""Committed files, their recipes, and who refers to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from nnpm.errors import DataLoss, FailedPrecondition
from nnpm_artifact.recipes import Chunk, Part, decode_chunks, encode_chunks
from nnpm_artifact.store import chunk_rows, pack_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.rows import batches, inserted_id
from nnpm_artifact.store.schema import PackState, file_references, files, namespaces, recipe_parts, upload_files


@dataclass(frozen=True, slots=True)
class FileRow:
    """A committed file."""

    id: int
    namespace_id: int
    namespace: str
    digest: bytes
    size: int
    chunk_count: int
    created: int
    """Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class RecipePart:
    """Consecutive chunks of a file and the offset of the first one's first byte."""

    first_byte: int
    chunks: list[Chunk]


def find(connection: Connection, namespace: str, digest: bytes) -> FileRow | None:
    """The file, if it was committed."""
    file_id = connection.scalar(
        select(files.c.id)
        .join(namespaces, namespaces.c.id == files.c.namespace_id)
        .where(namespaces.c.name == namespace, files.c.digest == digest)
    )
    return None if file_id is None else get(connection, file_id)


def get(connection: Connection, file_id: int) -> FileRow:
    """The file of that number, which must exist."""
    row = connection.execute(
        select(files, namespaces.c.name)
        .join(namespaces, namespaces.c.id == files.c.namespace_id)
        .where(files.c.id == file_id)
    ).one()
    return FileRow(row.id, row.namespace_id, row.name, row.digest, row.size, row.chunk_count, row.created)


def part_at(connection: Connection, file_id: int, offset: int) -> RecipePart | None:
    """The part of a recipe in which byte `offset` lies, or the last one."""
    row = connection.execute(
        select(recipe_parts.c.first_byte, recipe_parts.c.chunks)
        .where(recipe_parts.c.file_id == file_id, recipe_parts.c.first_byte <= offset)
        .order_by(recipe_parts.c.first_byte.desc())
        .limit(1)
    ).first()
    return None if row is None else RecipePart(row.first_byte, decode_chunks(row.chunks))


def part_after(connection: Connection, file_id: int, first_byte: int) -> RecipePart | None:
    """The part of a recipe that follows the one which begins at `first_byte`."""
    row = connection.execute(
        select(recipe_parts.c.first_byte, recipe_parts.c.chunks)
        .where(recipe_parts.c.file_id == file_id, recipe_parts.c.first_byte > first_byte)
        .order_by(recipe_parts.c.first_byte)
        .limit(1)
    ).first()
    return None if row is None else RecipePart(row.first_byte, decode_chunks(row.chunks))


def add(connection: Connection, pack: PackRow, parts: Iterable[Part], created: int) -> int:
    """Take a file in whose recipe lies in `pack`: its id.

    Raises FailedPrecondition CHUNK_NOT_IN_UPLOAD, which undoes the transaction, when one of its chunks is not stored.
    """
    file_id: int | None = None
    count = 0
    for part in parts:
        if file_id is None:
            file_id = _insert(connection, pack, part, created)
        if part.chunks:
            _add_part(connection, pack.namespace_id, file_id, part)
        count += len(part.chunks)
    if file_id is None:
        raise DataLoss("RECIPE_CORRUPT", f"the recipe in pack {pack.name} has no part")
    connection.execute(update(files).where(files.c.id == file_id).values(chunk_count=count))
    pack_rows.set_state(connection, pack.id, PackState.READY)
    return file_id


def _add_part(connection: Connection, namespace_id: int, file_id: int, part: Part) -> None:
    if not chunk_rows.use(connection, namespace_id, part.chunks):
        raise FailedPrecondition(
            "CHUNK_NOT_IN_UPLOAD",
            f"a chunk of file sha256:{part.file_digest.hex()} is not stored any more",
            hint="ask for the missing chunks of this file and upload them, then commit again",
        )
    row = {"file_id": file_id, "first_byte": part.first_byte, "chunks": encode_chunks(part.chunks)}
    connection.execute(insert(recipe_parts).values(row))


def _insert(connection: Connection, pack: PackRow, part: Part, created: int) -> int:
    key = connection.execute(
        insert(files).values(
            namespace_id=pack.namespace_id,
            digest=part.file_digest,
            size=part.file_size,
            chunk_count=0,
            created=created,
            pack_id=pack.id,
        )
    ).inserted_primary_key
    return inserted_id(key)


def committed(connection: Connection, namespace_id: int, digests: Sequence[bytes]) -> dict[bytes, int]:
    """digest -> id of those that are committed."""
    found: dict[bytes, int] = {}
    for batch in batches(list(dict.fromkeys(digests))):
        rows = connection.execute(
            select(files.c.digest, files.c.id).where(files.c.namespace_id == namespace_id, files.c.digest.in_(batch))
        )
        found.update((row.digest, row.id) for row in rows)
    return found


def referred(connection: Connection, namespace_id: int, referrer: str) -> set[int]:
    """The files that `referrer` refers to."""
    return set(
        connection.scalars(
            select(file_references.c.file_id).where(
                file_references.c.namespace_id == namespace_id, file_references.c.referrer == referrer
            )
        )
    )


def refer(connection: Connection, pack: PackRow, referrer: str, file_ids: Iterable[int]) -> None:
    """Make files roots. References that exist stay as they are; a pack that brings none is to be deleted."""
    known = referred(connection, pack.namespace_id, referrer)
    fresh = sorted(set(file_ids) - known)
    rows = [
        {"namespace_id": pack.namespace_id, "referrer": referrer, "file_id": file_id, "pack_id": pack.id}
        for file_id in fresh
    ]
    if rows:
        connection.execute(insert(file_references), rows)
        for batch in batches(fresh):
            connection.execute(update(files).where(files.c.id.in_(batch)).values(free_since=None))
    pack_rows.set_state(connection, pack.id, PackState.READY if rows else PackState.DELETING)


def unrefer(connection: Connection, namespace_id: int, referrer: str) -> None:
    """Take all roots of `referrer` away; their packs are to be deleted."""
    mine = (file_references.c.namespace_id == namespace_id) & (file_references.c.referrer == referrer)
    packs = connection.scalars(select(file_references.c.pack_id).where(mine).distinct()).all()
    connection.execute(delete(file_references).where(mine))
    for pack_id in packs:
        pack_rows.set_state(connection, pack_id, PackState.DELETING)


def _held() -> ColumnElement[bool]:
    by_reference = select(file_references.c.file_id).where(file_references.c.file_id == files.c.id).exists()
    by_upload = select(upload_files.c.file_id).where(upload_files.c.file_id == files.c.id).exists()
    return or_(by_reference, by_upload)


def mark_free(connection: Connection, now: int) -> None:
    """Note since when files are held by nothing."""
    held = _held()
    connection.execute(update(files).where(files.c.free_since.is_(None), ~held).values(free_since=now))
    connection.execute(update(files).where(files.c.free_since.is_not(None), held).values(free_since=None))


def delete_free(connection: Connection, free_before: int) -> bool:
    """Delete one file that is free since `free_before` or longer; its chunks lose a use each. False: there is none."""
    row = connection.execute(
        select(files.c.id, files.c.namespace_id, files.c.pack_id, files.c.free_since)
        .where(files.c.free_since <= free_before, ~_held())
        .order_by(files.c.id)
        .limit(1)
    ).first()
    if row is None:
        return False
    after = -1
    while (part := part_after(connection, row.id, after)) is not None:
        chunk_rows.release(connection, row.namespace_id, part.chunks, row.free_since)
        after = part.first_byte
    connection.execute(delete(recipe_parts).where(recipe_parts.c.file_id == row.id))
    connection.execute(delete(files).where(files.c.id == row.id))
    pack_rows.set_state(connection, row.pack_id, PackState.DELETING)
    return True


def count_free(connection: Connection) -> int:
    """Files that nothing holds and that are not deleted yet."""
    count = connection.scalar(select(func.count()).select_from(files).where(files.c.free_since.is_not(None)))
    return int(count or 0)
