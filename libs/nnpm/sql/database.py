"""Runs SQL off the event loop: reads side by side, writes one after the other.

A service's store is made of functions that take a `Connection` and answer plain data; nothing else of the service
sees SQL. Whatever the driver raises comes out as an nnpm error.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, OperationalError

from nnpm.errors import FailedPrecondition, NnpmError, ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
_ATTEMPTS = 3
_BUSY_S = 15
_WRITES = "writes"


class Database:
    """A service's database. `read` and `write` run a function on a connection, in a transaction of its own."""

    def __init__(self, service: str, url: str, migrations: Path) -> None:
        """Nothing is opened yet: `migrate` first.

        Args:
            service: whose it is, for messages.
            url: as SQLAlchemy takes it; an SQLite file's folder is made when it is missing.
            migrations: the folder with Alembic's `env.py`, which finds the connection in
                `context.config.attributes["connection"]`.
        """
        self._service = service
        self._migrations = migrations
        self._engine = _engine(url)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sql")
        self._writing = threading.Lock()

    def migrate(self) -> bool:
        """Bring the schema to this version's. True when the database was empty before.

        Raises FailedPrecondition DATABASE_TOO_NEW, Unavailable DATABASE_UNAVAILABLE, ResourceExhausted DISK_FULL.
        """
        config = Config()
        config.set_main_option("script_location", str(self._migrations).replace("%", "%%"))
        # The write lock from the start: two services that begin on one database must not be in each other's way.
        with self._sql_errors(), self._begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if current is not None and current not in known:
                raise FailedPrecondition(
                    "DATABASE_TOO_NEW",
                    f"the {self._service} database has schema {current}, which this version of nnpm does not know",
                    hint="update nnpm",
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return current is None

    async def read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`act(connection, ...)`, which only reads."""
        return await self._run(lambda: self._read(lambda connection: act(connection, *args, **kwargs)))

    async def write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`act(connection, ...)` in a transaction that is durable when this returns, or was not at all.

        `act` may run again when another process was in the way, so it must have no effect but through the connection.
        """
        return await self._run(lambda: self._write(lambda connection: act(connection, *args, **kwargs)))

    async def rehearse(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `act(connection, ...)` would answer; it is taken back."""
        return await self._run(lambda: self._rehearse(lambda connection: act(connection, *args, **kwargs)))

    async def check(self) -> None:
        """Returns when the database answers. Raises Unavailable DATABASE_UNAVAILABLE."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")).all())

    def close(self) -> None:
        """Let what runs end, then disconnect."""
        self._threads.shutdown()
        self._engine.dispose()

    async def _run(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)

    def _read(self, act: Callable[[Connection], T]) -> T:
        with self._sql_errors(), self._engine.connect() as connection:
            return act(connection)

    def _write(self, act: Callable[[Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._writing, self._sql_errors(), self._begin() as connection:
                    return act(connection)
            except _ConflictError:
                if attempt == _ATTEMPTS:
                    raise Unavailable(
                        "DATABASE_UNAVAILABLE",
                        f"the {self._service} database is too busy with other writers",
                        retry_after=1,
                    ) from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _rehearse(self, act: Callable[[Connection], T]) -> T:
        with self._writing, self._sql_errors(), self._engine.connect() as connection:
            connection.info[_WRITES] = True
            try:
                return act(connection)
            finally:
                connection.info.pop(_WRITES)
                connection.rollback()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction that takes SQLite's write lock at its begin, so that it never has to give up midway."""
        with self._engine.connect() as connection:
            connection.info[_WRITES] = True
            try:
                with connection.begin():
                    yield connection
            finally:
                connection.info.pop(_WRITES, None)

    @contextmanager
    def _sql_errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise _ConflictError from error
        except OperationalError as error:
            raise self._from_operational(error) from error
        except DBAPIError as error:
            # SQLite says with the bare class that a file is no database, or is damaged.
            if error.connection_invalidated or type(error) is DatabaseError:
                raise self._unavailable(error) from error
            raise

    def _from_operational(self, error: OperationalError) -> "NnpmError | _ConflictError":
        message = str(error.orig)
        if "disk is full" in message:
            return ResourceExhausted(
                "DISK_FULL",
                f"no space is left on the disk that holds the {self._service} database",
                hint="free some space, then try again: what was stored stays",
                retry_after=30,
            )
        if "deadlock" in message or "could not serialize" in message:
            return _ConflictError()
        return self._unavailable(error)

    def _unavailable(self, error: DBAPIError) -> Unavailable:
        return Unavailable("DATABASE_UNAVAILABLE", f"the {self._service} database fails: {error.orig}", retry_after=5)


class _ConflictError(Exception):
    """Two writers were in each other's way: the transaction may be tried again."""


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_size=_THREADS, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, pool_size=_THREADS, connect_args={"timeout": _BUSY_S, "check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: object, _record: object) -> None:
    """WAL, so that readers go on while one writes; FULL, so that a commit survives a loss of power."""
    connection.isolation_level = None  # type: ignore[attr-defined]  # the driver must not begin for us
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.info.get(_WRITES) else "BEGIN")
