"""The durable stream of events."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from nnpm_registry.records import Event, EventType
from nnpm_registry.store import rows
from nnpm_registry.store.schema import event_counter, events


def append(connection: Connection, kind: EventType, package: str, version: str, tag: str = "") -> None:
    """Adds an event in the caller's transaction.

    The update locks the counter until the transaction ends, so that no event becomes visible after a later one.
    """
    connection.execute(update(event_counter).values(last=event_counter.c.last + 1))
    sequence = connection.execute(select(event_counter.c.last)).scalar_one()
    connection.execute(
        insert(events).values(
            sequence=sequence, type=kind.value, package=package, version=version, tag=tag, time=rows.now()
        )
    )


def last(connection: Connection) -> int:
    """The sequence number of the newest event; 0 before the first."""
    return int(connection.execute(select(event_counter.c.last)).scalar_one())


def after(connection: Connection, sequence: int, package: str, limit: int) -> tuple[Sequence[Event], int]:
    """The next events behind a sequence number, of one package or (empty) of all, and how far that looked."""
    newest = last(connection)
    query = select(events).where(events.c.sequence > sequence, events.c.sequence <= newest)
    if package:
        query = query.where(events.c.package == package)
    found = [rows.event(row) for row in connection.execute(query.order_by(events.c.sequence).limit(limit))]
    return found, found[-1].sequence if len(found) == limit else max(newest, sequence)
