"""What is remembered of packs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from nnpm_artifact.packs import PackKind
from nnpm_artifact.store.rows import inserted_id
from nnpm_artifact.store.schema import PackState, chunks, namespaces, packs


@dataclass(frozen=True, slots=True)
class PackRow:
    """A pack: its number in the index, its name in the store."""

    id: int
    name: str
    namespace_id: int
    kind: PackKind
    size: int
    """Bytes of the object."""
    content: int
    """Bytes of the entries in it."""


_COLUMNS = (packs.c.id, packs.c.name, packs.c.namespace_id, packs.c.kind, packs.c.size, packs.c.content)


def begin(
    connection: Connection,
    name: str,
    namespace_id: int,
    kind: PackKind,
    *,
    size: int,
    content: int,
    writer: str | None = None,
) -> PackRow:
    """Write down that `name` is about to be put, by the process `writer`."""
    values = {"name": name, "namespace_id": namespace_id, "kind": kind, "size": size, "content": content}
    key = connection.execute(insert(packs).values(**values, state=PackState.WRITING, writer=writer))
    return PackRow(inserted_id(key.inserted_primary_key), name, namespace_id, kind, size, content)


def find(connection: Connection, pack_id: int) -> PackRow | None:
    """The pack of that number, while it has a row."""
    row = connection.execute(select(*_COLUMNS).where(packs.c.id == pack_id)).one_or_none()
    if row is None:
        return None
    return PackRow(row.id, row.name, row.namespace_id, PackKind(row.kind), row.size, row.content)


def state_of(connection: Connection, pack_id: int) -> PackState | None:
    """Where a pack is in its life; None when its row is gone."""
    state = connection.scalar(select(packs.c.state).where(packs.c.id == pack_id))
    return None if state is None else PackState(state)


def give_up(connection: Connection, pack_id: int) -> bool:
    """Have a pack deleted that is still being written; any other stays as it is. False when its row is gone."""
    state = state_of(connection, pack_id)
    if state is PackState.WRITING:
        set_state(connection, pack_id, PackState.DELETING)
    return state is not None


def set_state(connection: Connection, pack_id: int, state: PackState) -> None:
    """Move a pack on in its life."""
    connection.execute(update(packs).where(packs.c.id == pack_id).values(state=state))


def in_state(connection: Connection, state: PackState, limit: int) -> list[PackRow]:
    """Up to `limit` packs in a state."""
    rows = connection.execute(select(*_COLUMNS).where(packs.c.state == state).order_by(packs.c.id).limit(limit))
    return [PackRow(row.id, row.name, row.namespace_id, PackKind(row.kind), row.size, row.content) for row in rows]


def forget(connection: Connection, pack_ids: Sequence[int]) -> None:
    """Remove the rows of packs whose objects are gone."""
    connection.execute(delete(packs).where(packs.c.id.in_(pack_ids)))


def known(connection: Connection, name: str) -> bool:
    """Whether the index knows the pack of that name."""
    return connection.scalar(select(packs.c.id).where(packs.c.name == name)) is not None


def condemn_empty(connection: Connection) -> None:
    """Mark packs of chunks that nothing lies in any more for deletion."""
    holds_chunk = select(chunks.c.id).where(chunks.c.pack_id == packs.c.id).exists()
    connection.execute(
        update(packs)
        .where(packs.c.state == PackState.READY, packs.c.kind == PackKind.CHUNKS, ~holds_chunk)
        .values(state=PackState.DELETING)
    )


def due(connection: Connection) -> tuple[int, int]:
    """How many packs are to be deleted, and their bytes."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(packs.c.size), 0)).where(packs.c.state == PackState.DELETING)
    ).one()
    return int(row[0]), int(row[1])


def namespace_of(connection: Connection, pack: PackRow) -> str:
    """The name of the pack's namespace."""
    return str(connection.scalar(select(namespaces.c.name).where(namespaces.c.id == pack.namespace_id)))


def sparse(connection: Connection, least_share: float, after_id: int, limit: int) -> list[PackRow]:
    """Packs of chunks of which less than `least_share` of the bytes are still in the index, by ascending id."""
    kept = func.sum(chunks.c.size)
    rows = connection.execute(
        select(*_COLUMNS)
        .join(chunks, chunks.c.pack_id == packs.c.id)
        .where(packs.c.state == PackState.READY, packs.c.kind == PackKind.CHUNKS, packs.c.id > after_id)
        .group_by(*_COLUMNS)
        .having(kept < packs.c.content * least_share)
        .order_by(packs.c.id)
        .limit(limit)
    )
    return [PackRow(row.id, row.name, row.namespace_id, PackKind(row.kind), row.size, row.content) for row in rows]
