"""Which processes live: each renews its row, and one that does not is taken for dead."""

from sqlalchemy import Connection, delete, insert, select, update

from nnpm_artifact.store.schema import PackState, packs, writers

_KEEP_DEAD_MS = 24 * 3600 * 1000


def renew(connection: Connection, name: str, now: int, expires: int) -> None:
    """The process of that name lives until `expires`, Unix milliseconds."""
    connection.execute(delete(writers).where(writers.c.expires <= now - _KEEP_DEAD_MS))
    if not connection.execute(update(writers).where(writers.c.name == name).values(expires=expires)).rowcount:
        connection.execute(insert(writers).values(name=name, expires=expires))


def abandoned(connection: Connection, now: int, own: str | None, limit: int) -> list[int]:
    """Ids of packs that were being written by a process that is dead, or by `own`, which has just begun."""
    living = select(writers.c.name).where(writers.c.expires > now)
    dead = packs.c.writer.is_(None) | packs.c.writer.not_in(living)
    if own is not None:
        dead |= packs.c.writer == own
    query = select(packs.c.id).where(packs.c.state == PackState.WRITING, dead).order_by(packs.c.id).limit(limit)
    return list(connection.scalars(query))
