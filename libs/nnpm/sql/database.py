"""Runs SQL off the event loop: reads side by side, writes one after the other.

A service's store is made of functions that take a `Connection` and answer plain data; nothing else of the service
sees SQL. Whatever the driver raises comes out as an nnpm error.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, OperationalError

from nnpm.errors import FailedPrecondition, InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm.rpc.pause import pause as wait_for
from nnpm.sql.engines import CONNECTIONS, WRITES, is_conflict, is_lost, open_engine
from nnpm.telemetry.logs import get_logger

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 3
_PATIENCE = 10.0
"""Seconds for which a server that went away is asked again, as in a restart."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds


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
        self._engine = open_engine(url)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="sql")
        self._writing = threading.Lock()
        self._away_since: float | None = None
        self._closing = threading.Event()

    def migrate(self) -> bool:
        """Bring the schema to this version's. True when the database was empty before.

        Raises FailedPrecondition DATABASE_TOO_NEW, Unavailable DATABASE_UNAVAILABLE, ResourceExhausted DISK_FULL.
        """
        return self._retried(self._migrate)

    def _migrate(self) -> bool:
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

    async def migrate_when_there(self, stop: asyncio.Event) -> bool | None:
        """`migrate`, as soon as the database's server is there; None when stopped before.

        Raises what `migrate` raises for a reason that waiting does not mend.
        """
        log = get_logger("sql")
        pause, told = _FIRST_PAUSE, False
        while not stop.is_set():
            try:
                was_empty = await asyncio.to_thread(self.migrate)
            except _LostError as lost:
                if not told:
                    log.warning("waiting for the database", service=self._service, why=lost.message)
                    told = True
            else:
                if told:
                    log.info("the database is there", service=self._service)
                return was_empty
            await wait_for(stop, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    async def read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`act(connection, ...)`, which only reads."""
        return await self._run(lambda: self._read(lambda connection: act(connection, *args, **kwargs)))

    async def write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`act(connection, ...)` in a transaction that is durable when this returns, and was not at all when it raises.

        The one exception: where a server goes away while it commits, Unavailable says that it may be stored or not.
        `act` may run again when another process was in the way or the server was away, so it must have no effect but
        through the connection.
        """
        return await self._run(lambda: self._write(lambda connection: act(connection, *args, **kwargs)))

    async def rehearse(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `act(connection, ...)` would answer; it is taken back."""
        return await self._run(lambda: self._rehearse(lambda connection: act(connection, *args, **kwargs)))

    async def check(self) -> None:
        """Returns when the database answers. Raises Unavailable DATABASE_UNAVAILABLE."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")).all())

    def close(self) -> None:
        """Let what runs end, then disconnect. Nothing waits for a server any more that is away."""
        self._closing.set()
        self._threads.shutdown()
        self._engine.dispose()

    async def _run(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)

    def _read(self, act: Callable[[Connection], T]) -> T:
        return self._patiently(lambda: self._read_once(act))

    def _read_once(self, act: Callable[[Connection], T]) -> T:
        with self._sql_errors(), self._engine.connect() as connection:
            return act(connection)

    def _write(self, act: Callable[[Connection], T]) -> T:
        return self._retried(lambda: self._patiently(lambda: self._write_once(act)))

    def _retried(self, act: Callable[[], T]) -> T:
        """Does it again when another writer was in the way."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return act()
            except _ConflictError:
                if attempt == _ATTEMPTS:
                    raise Unavailable(
                        "DATABASE_UNAVAILABLE",
                        f"the {self._service} database is too busy with other writers",
                        retry_after=1,
                    ) from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _write_once(self, act: Callable[[Connection], T]) -> T:
        with self._writing, self._sql_errors(), self._begin() as connection:
            return act(connection)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Does it again while the server is away, where nothing can have come of it; not, once it is away for long."""
        pause = _FIRST_PAUSE
        while True:
            try:
                done = act()
            except _LostError:
                now = time.monotonic()
                since = self._away_since or now  # another thread may find at any moment that it is back
                self._away_since = since
                if self._closing.wait(pause) or now > since + _PATIENCE:
                    raise
            else:
                self._away_since = None
                return done
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _rehearse(self, act: Callable[[Connection], T]) -> T:
        return self._retried(lambda: self._rehearse_once(act))

    def _rehearse_once(self, act: Callable[[Connection], T]) -> T:
        with self._writing, self._sql_errors(), self._engine.connect() as plain:
            connection = plain.execution_options(**WRITES)
            try:
                return act(connection)
            finally:
                connection.rollback()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction that will write: see `nnpm.sql.engines`."""
        with self._engine.connect() as plain:
            connection = plain.execution_options(**WRITES)
            with self._committed(connection):
                yield connection

    @contextmanager
    def _committed(self, connection: Connection) -> Iterator[None]:
        transaction = connection.begin()
        try:
            yield
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            if not is_lost(error, self._engine):
                raise
            # Committed or not: only the caller can find out, so it is not done again here.
            raise Unavailable(
                "DATABASE_UNAVAILABLE",
                f"the {self._service} database went away while it stored this; it may be stored or not",
                hint="do the same again: a repeated request does no harm",
                retry_after=1,
            ) from error

    @contextmanager
    def _sql_errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise _ConflictError from error
        except DataError as error:
            raise InvalidArgument(
                "VALUE_NOT_STORABLE",
                f"the {self._service} database cannot hold a value of this request: {error.orig}",
                hint="no text may hold a NUL character",
            ) from error
        except DBAPIError as error:
            if is_conflict(error):
                raise _ConflictError from error
            if is_lost(error, self._engine):
                raise _LostError("DATABASE_UNAVAILABLE", self._failure(error), retry_after=5) from error
            if isinstance(error, OperationalError) or type(error) is DatabaseError:
                # SQLite says with the bare class that a file is no database, or is damaged.
                raise self._from_operational(error) from error
            raise

    def _from_operational(self, error: DBAPIError) -> NnpmError:
        message = str(error.orig)
        if "disk is full" in message or "No space left" in message:
            return ResourceExhausted(
                "DISK_FULL",
                f"no space is left on the disk that holds the {self._service} database",
                hint="free some space, then try again: what was stored stays",
                retry_after=30,
            )
        return Unavailable("DATABASE_UNAVAILABLE", self._failure(error), retry_after=5)

    def _failure(self, error: DBAPIError) -> str:
        return f"the {self._service} database fails: {error.orig}"


class _LostError(Unavailable):
    """The server is away, and nothing was done."""


class _ConflictError(Exception):
    """Two writers were in each other's way: the transaction may be tried again."""
