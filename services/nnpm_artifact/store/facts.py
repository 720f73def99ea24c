"""What is known of the index as a whole."""

from sqlalchemy import Connection, insert, select

from nnpm_artifact.store.schema import facts

_WHOLE = "whole"


def is_whole(connection: Connection) -> bool:
    """Whether the index knows every pack of the store: false for a new database, until the packs were read."""
    return connection.scalar(select(facts.c.value).where(facts.c.name == _WHOLE)) is not None


def set_whole(connection: Connection) -> None:
    """Write down that it does."""
    if not is_whole(connection):
        connection.execute(insert(facts).values(name=_WHOLE, value="yes"))
