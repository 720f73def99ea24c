"""What several tables need: namespaces by name, and questions about more things than one statement takes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, insert, select

from nnpm_artifact.store.schema import namespaces

T = TypeVar("T")

_BATCH = 1000
"""Values in one IN list: SQLite and PostgreSQL take 32,766."""


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items` in pieces that one statement takes."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def namespace_id(connection: Connection, name: str) -> int | None:
    """The id of a namespace; None when nothing was ever stored in it."""
    return connection.scalar(select(namespaces.c.id).where(namespaces.c.name == name))


def make_namespace(connection: Connection, name: str) -> int:
    """The id of a namespace, made when it is new."""
    found = namespace_id(connection, name)
    if found is not None:
        return found
    return inserted_id(connection.execute(insert(namespaces).values(name=name)).inserted_primary_key)


def inserted_id(key: object) -> int:
    """The number that an INSERT gave its row."""
    return int(key[0])  # type: ignore[index]  # a Row, typed as Any | None by SQLAlchemy
