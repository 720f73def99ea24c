"""Engines for the two databases that nnpm runs on, made to mean the same by a transaction.

A read sees one state of the whole database. A write is alone: it waits for the one before it, so it never sees half of
another and never has to give up midway. SQLite does so by itself once a transaction says at its begin that it will
write; PostgreSQL is told to, by a lock that a writing transaction takes first.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from nnpm.errors import InvalidArgument

CONNECTIONS = 4
WRITES = {"nnpm_writes": True}
"""Execution options of a connection whose transactions write."""

_WAIT_SECONDS = 15
_CONNECT_SECONDS = 5
_LOCK = 0x6E6E706D
"""A PostgreSQL advisory lock, one a database: `nnpm`."""

_CONFLICTS = {"40001", "40P01", "55P03"}
"""SQLSTATE of serialization_failure, deadlock_detected, lock_not_available."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///...` or `postgresql://...`; connects later. Raises InvalidArgument INVALID_SETTINGS."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _unsupported(url.partition(":")[0]) from None
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql":
            return _postgresql(parsed)
        case other:
            raise _unsupported(other)


def _unsupported(kind: str) -> InvalidArgument:
    return InvalidArgument(
        "INVALID_SETTINGS",
        f"a database URL begins with {kind!r}, which is not supported",
        hint="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE",
    )


def is_conflict(error: DBAPIError) -> bool:
    """Two writers were in each other's way: the transaction may be tried again."""
    return getattr(error.orig, "sqlstate", None) in _CONFLICTS


def is_lost(error: DBAPIError, engine: Engine) -> bool:
    """The server went away, or is not there yet; an SQLite file that cannot be used is not lost, but broken."""
    if engine.dialect.name == "sqlite":
        return False
    if error.connection_invalidated:
        return True
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:  # the client's side of it: not connected, or cut off
        return isinstance(error, OperationalError | InterfaceError)
    # 08: connection exceptions; 57P: shutting down or starting up; 53300: too many connections
    return state.startswith(("08", "57P", "53300"))


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    arguments = {"timeout": _WAIT_SECONDS, "check_same_thread": False}
    engine = create_engine(url, pool_size=CONNECTIONS, connect_args=arguments)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin(read="BEGIN", write="BEGIN IMMEDIATE"))
    return engine


def _configure_sqlite(connection: object, _record: object) -> None:
    """WAL, so that readers go on while one writes; FULL, so that a commit survives a loss of power."""
    connection.isolation_level = None  # type: ignore[attr-defined]  # the driver must not begin for us
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    # A server that vanishes without a word is noticed in seconds, not in the kernel's quarter of an hour.
    arguments = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "application_name": "nnpm",
    }
    ours = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_pre_ping=True, connect_args=ours)
    event.listen(
        engine,
        "begin",
        _begin(
            read="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            # Read committed: a statement sees what was committed before it, and so all that came before the lock.
            write=f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'; SELECT pg_advisory_xact_lock({_LOCK})",
        ),
    )
    return engine


def _begin(*, read: str, write: str) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(write if connection.get_execution_options().get("nnpm_writes") else read)

    return begin
