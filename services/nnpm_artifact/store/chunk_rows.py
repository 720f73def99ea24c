"""Where each chunk lies: the index proper."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, delete, insert, select, update

from nnpm.errors import InvalidArgument
from nnpm_artifact.packs import Entry
from nnpm_artifact.recipes import Chunk
from nnpm_artifact.store import pack_rows, upload_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.rows import batches
from nnpm_artifact.store.schema import PackState, chunks, packs, pins


@dataclass(frozen=True, slots=True)
class Location:
    """Where a chunk's bytes lie."""

    pack: str
    offset: int
    size: int
    damaged: bool = False


def hold_present(connection: Connection, upload_id: str, namespace_id: int, wanted: Sequence[Chunk]) -> set[bytes]:
    """The digests among `wanted` that are stored and sound; the upload holds them from now on.

    Raises InvalidArgument CHUNK_SIZE_MISMATCH when one is stored with another size than the caller believes.
    """
    sizes = {chunk.digest: chunk.size for chunk in wanted}
    present: set[bytes] = set()
    for batch in batches(list(sizes)):
        rows = connection.execute(
            select(chunks.c.id, chunks.c.digest, chunks.c.size).where(
                chunks.c.namespace_id == namespace_id, chunks.c.digest.in_(batch), chunks.c.damaged.is_(False)
            )
        ).all()
        for row in rows:
            if row.size != sizes[row.digest]:
                raise InvalidArgument(
                    "CHUNK_SIZE_MISMATCH",
                    f"chunk sha256:{row.digest.hex()} has {row.size} bytes, not {sizes[row.digest]}",
                )
        upload_rows.pin(connection, upload_id, [row.id for row in rows])
        present.update(row.digest for row in rows)
    return present


def present(connection: Connection, namespace_id: int, digests: Sequence[bytes]) -> set[bytes]:
    """The digests that are stored and sound. Holds nothing."""
    found: set[bytes] = set()
    for batch in batches(digests):
        found.update(
            connection.scalars(
                select(chunks.c.digest).where(
                    chunks.c.namespace_id == namespace_id, chunks.c.digest.in_(batch), chunks.c.damaged.is_(False)
                )
            )
        )
    return found


def index_pack(connection: Connection, pack: PackRow, entries: Sequence[Entry], upload_id: str | None) -> list[Entry]:
    """Take a durable pack's chunks into the index, and let the upload hold them. Those that were new.

    A chunk that is there already keeps its place, unless it was found to be damaged there.
    """
    new: list[Entry] = []
    for batch in batches(entries):
        new.extend(_index(connection, pack, batch))
        if upload_id is not None:
            digests = [entry.digest for entry in batch]
            ids = connection.scalars(
                select(chunks.c.id).where(chunks.c.namespace_id == pack.namespace_id, chunks.c.digest.in_(digests))
            ).all()
            upload_rows.pin(connection, upload_id, ids)
    pack_rows.set_state(connection, pack.id, PackState.READY)
    return new


def _index(connection: Connection, pack: PackRow, entries: Sequence[Entry]) -> list[Entry]:
    by_digest = {entry.digest: entry for entry in entries}
    known = connection.execute(
        select(chunks.c.id, chunks.c.digest, chunks.c.damaged).where(
            chunks.c.namespace_id == pack.namespace_id, chunks.c.digest.in_(list(by_digest))
        )
    ).all()
    for row in known:
        entry = by_digest[row.digest] if row.damaged else by_digest.pop(row.digest)
        if row.damaged:
            place = {"pack_id": pack.id, "pack_offset": entry.offset, "size": entry.size, "damaged": False}
            connection.execute(update(chunks).where(chunks.c.id == row.id).values(place))
    new = list(by_digest.values())
    healed = {row.digest for row in known if row.damaged}
    rows = [
        {
            "namespace_id": pack.namespace_id,
            "digest": entry.digest,
            "size": entry.size,
            "pack_id": pack.id,
            "pack_offset": entry.offset,
            "uses": 0,
            "damaged": False,
        }
        for entry in new
        if entry.digest not in healed
    ]
    if rows:
        connection.execute(insert(chunks), rows)
    return new


def locate(connection: Connection, namespace_id: int, digests: Sequence[bytes]) -> Mapping[bytes, Location]:
    """Where these chunks lie; those that are not stored are left out."""
    return _locate(connection, namespace_id, digests, None)


def locate_held(
    connection: Connection, upload_id: str, namespace_id: int, digests: Sequence[bytes]
) -> Mapping[bytes, Location]:
    """Where those of these chunks lie that the upload holds."""
    return _locate(connection, namespace_id, digests, upload_id)


def _locate(
    connection: Connection, namespace_id: int, digests: Sequence[bytes], upload_id: str | None
) -> Mapping[bytes, Location]:
    found: dict[bytes, Location] = {}
    query = (
        select(chunks.c.digest, chunks.c.pack_offset, chunks.c.size, chunks.c.damaged, packs.c.name)
        .join(packs, packs.c.id == chunks.c.pack_id)
        .where(chunks.c.namespace_id == namespace_id)
    )
    if upload_id is not None:
        query = query.join(pins, pins.c.chunk_id == chunks.c.id).where(pins.c.upload_id == upload_id)
    for batch in batches(list(dict.fromkeys(digests))):
        for row in connection.execute(query.where(chunks.c.digest.in_(batch))):
            found[row.digest] = Location(row.name, row.pack_offset, row.size, row.damaged)
    return found


def mark_damaged(connection: Connection, namespace_id: int, digest: bytes) -> None:
    """Write down that a chunk does not read as it should: it counts as missing until it is uploaded again."""
    connection.execute(
        update(chunks).where(chunks.c.namespace_id == namespace_id, chunks.c.digest == digest).values(damaged=True)
    )


def use(connection: Connection, namespace_id: int, recipe: Sequence[Chunk]) -> bool:
    """Count the chunks of a part of a recipe as used by it. False when one of them is not stored."""
    counts = Counter(chunk.digest for chunk in recipe)
    statement = (
        update(chunks)
        .where(chunks.c.namespace_id == namespace_id, chunks.c.digest == bindparam("of"))
        .values(uses=chunks.c.uses + bindparam("times"), free_since=None)
    )
    rows = [{"of": digest, "times": times} for digest, times in counts.items()]
    return connection.execute(statement, rows).rowcount == len(rows)


def release(connection: Connection, namespace_id: int, recipe: Sequence[Chunk], free_since: int) -> None:
    """Count the chunks of a part of a recipe as used no more by it; those without any use are free since then."""
    left = chunks.c.uses - bindparam("times")
    statement = (
        update(chunks)
        .where(chunks.c.namespace_id == namespace_id, chunks.c.digest == bindparam("of"))
        .values(uses=left, free_since=case((left == 0, free_since), else_=None))
    )
    counts = Counter(chunk.digest for chunk in recipe)
    connection.execute(statement, [{"of": digest, "times": times} for digest, times in counts.items()])


def mark_free(connection: Connection, now: int) -> None:
    """Note since when chunks are used and pinned by nothing."""
    pinned = select(pins.c.chunk_id).where(pins.c.chunk_id == chunks.c.id).exists()
    connection.execute(
        update(chunks).where(chunks.c.uses == 0, chunks.c.free_since.is_(None), ~pinned).values(free_since=now)
    )


def delete_free(connection: Connection, free_before: int, limit: int) -> int:
    """Forget up to `limit` chunks that are free since `free_before` or longer; how many went."""
    pinned = select(pins.c.chunk_id).where(pins.c.chunk_id == chunks.c.id).exists()
    free = connection.scalars(
        select(chunks.c.id).where(chunks.c.uses == 0, chunks.c.free_since <= free_before, ~pinned).limit(limit)
    ).all()
    for batch in batches(free):
        connection.execute(delete(chunks).where(chunks.c.id.in_(batch)))
    return len(free)


def of_pack(connection: Connection, pack_id: int) -> list[Entry]:
    """The chunks that the index finds in a pack, by offset."""
    rows = connection.execute(
        select(chunks.c.digest, chunks.c.pack_offset, chunks.c.size)
        .where(chunks.c.pack_id == pack_id)
        .order_by(chunks.c.pack_offset)
    )
    return [Entry(row.digest, row.pack_offset, row.size, row.size) for row in rows]


def move(connection: Connection, old: PackRow, new: PackRow, entries: Sequence[Entry]) -> None:
    """Let the index find in `new` what it found in `old`, whose deletion is due then.

    Chunks that were forgotten or healed elsewhere meanwhile stay so.
    """
    statement = (
        update(chunks)
        .where(
            chunks.c.namespace_id == old.namespace_id, chunks.c.digest == bindparam("of"), chunks.c.pack_id == old.id
        )
        .values(pack_id=new.id, pack_offset=bindparam("at"))
    )
    rows = [{"of": entry.digest, "at": entry.offset} for entry in entries]
    moved = connection.execute(statement, rows).rowcount if rows else 0
    # none: another process has moved them, and the old pack is its affair
    pack_rows.set_state(connection, new.id, PackState.READY if moved else PackState.DELETING)
    if moved:
        pack_rows.set_state(connection, old.id, PackState.DELETING)
