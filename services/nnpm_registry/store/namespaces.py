"""Namespaces."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from nnpm.errors import AlreadyExists
from nnpm_registry.records import Namespace
from nnpm_registry.store import rows
from nnpm_registry.store.schema import namespaces


def create(connection: Connection, name: str, request_id: str) -> Namespace:
    """Makes a namespace and those around it. The same request again answers the same."""
    row = connection.execute(select(namespaces).where(namespaces.c.name == name)).one_or_none()
    if row is not None:
        if request_id and row.request_id == request_id:
            return rows.namespace(row)
        raise AlreadyExists(
            "NAMESPACE_TAKEN",
            f"namespace {name!r} exists",
            hint="publish into it, or choose another name",
            metadata={"namespace": name},
        )
    ensure(connection, name, request_id or None)
    return rows.namespace(connection.execute(select(namespaces).where(namespaces.c.name == name)).one())


def ensure(connection: Connection, name: str, request_id: str | None = None) -> None:
    """Makes a namespace and those around it where they are missing."""
    segments = name.split("/")
    for count in range(1, len(segments) + 1):
        part = "/".join(segments[:count])
        if connection.execute(select(namespaces.c.name).where(namespaces.c.name == part)).one_or_none() is None:
            whose = request_id if part == name else None
            connection.execute(insert(namespaces).values(name=part, request_id=whose, create_time=rows.now()))


def page(connection: Connection, after: str, limit: int) -> Sequence[Namespace]:
    """Namespaces by name, behind `after`."""
    query = select(namespaces).where(namespaces.c.name > after).order_by(namespaces.c.name).limit(limit)
    return [rows.namespace(row) for row in connection.execute(query)]
