"""What only a server can do to a client: go away at any moment, refuse a value, and be shared by processes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from nnpm.errors import InvalidArgument, Unavailable
from nnpm.sql.database import Database
from nnpm.sql.engines import CONNECTIONS
from support.postgres_server import PostgresServer
from support.waiting import eventually

END_OWN_CONNECTION = text("SELECT pg_terminate_backend(pg_backend_pid())")
DIE_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();
"""


@pytest.fixture
def database(postgres_server: PostgresServer, migrations: Path) -> Iterator[Database]:
    database = Database("notes", postgres_server.make_database(), migrations)
    assert database.migrate()
    yield database
    database.close()


@pytest.fixture
def own_database(own_postgres: PostgresServer, migrations: Path) -> Iterator[Database]:
    """A database whose server the test stops and starts."""
    database = Database("notes", own_postgres.make_database(), migrations)
    assert database.migrate()
    yield database
    database.close()


def _add(connection: Connection, note: str) -> None:
    connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


def _notes(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT text FROM notes ORDER BY text")))


@pytest.mark.parametrize("end", ["shut_down", "kill"])
async def test_a_restarted_server_costs_neither_reads_nor_writes(
    own_database: Database, own_postgres: PostgresServer, end: str
) -> None:
    await own_database.write(_add, "before")
    await asyncio.to_thread(getattr(own_postgres, end))
    during = [asyncio.create_task(own_database.write(_add, f"during {number}")) for number in range(8)]
    reading = asyncio.create_task(own_database.read(_notes))
    await asyncio.to_thread(own_postgres.start)
    await asyncio.gather(*during)
    assert "before" in await reading
    assert len(await own_database.read(_notes)) == 9


async def test_a_write_that_was_cut_off_midway_is_done_again_whole(database: Database) -> None:
    runs = 0

    def cut_off_once(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        _add(connection, "a")
        if runs == 1:
            connection.execute(END_OWN_CONNECTION)

    await database.write(cut_off_once)
    assert runs == 2
    assert await database.read(_notes) == ["a"]


async def test_a_write_that_is_cut_off_at_its_commit_is_not_repeated_but_said_to_be_unknown(
    database: Database,
) -> None:
    await database.write(lambda connection: connection.exec_driver_sql(DIE_AT_COMMIT))
    runs = 0

    def count(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        _add(connection, "a")

    with pytest.raises(Unavailable) as unknown:
        await database.write(count)
    assert unknown.value.reason == "DATABASE_UNAVAILABLE"
    assert "may be stored or not" in unknown.value.message
    assert runs == 1
    assert await database.read(_notes) == []


async def test_a_server_that_stays_away_is_told_of_in_the_end(
    own_database: Database, own_postgres: PostgresServer
) -> None:
    await asyncio.to_thread(own_postgres.shut_down)
    async with asyncio.timeout(60):
        with pytest.raises(Unavailable) as away:
            await own_database.write(_add, "a")
    assert away.value.reason == "DATABASE_UNAVAILABLE"
    async with asyncio.timeout(5):  # by then it is known to be away: nobody waits for it again
        with pytest.raises(Unavailable):
            await own_database.write(_add, "a")
    await asyncio.to_thread(own_postgres.start)
    await own_database.write(_add, "b")
    assert await own_database.read(_notes) == ["b"]


async def test_a_service_waits_for_a_server_that_is_not_there_yet(
    own_postgres: PostgresServer, migrations: Path
) -> None:
    url = own_postgres.make_database()
    await asyncio.to_thread(own_postgres.shut_down)
    database, stop = Database("notes", url, migrations), asyncio.Event()
    waiting = asyncio.create_task(database.migrate_when_there(stop))
    await asyncio.to_thread(own_postgres.start)
    assert await asyncio.wait_for(waiting, 30) is True
    await database.write(_add, "a")
    database.close()


async def test_a_service_that_waits_can_be_stopped(own_postgres: PostgresServer, migrations: Path) -> None:
    url = own_postgres.make_database()
    await asyncio.to_thread(own_postgres.shut_down)
    database, stop = Database("notes", url, migrations), asyncio.Event()
    waiting = asyncio.create_task(database.migrate_when_there(stop))
    stop.set()
    assert await asyncio.wait_for(waiting, 10) is None
    database.close()


async def test_a_nul_character_is_the_callers_mistake(database: Database) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await database.write(_add, "a\0b")
    assert refused.value.reason == "VALUE_NOT_STORABLE"


async def test_connections_are_few_however_many_wait(database: Database) -> None:
    mine = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")

    def slow(connection: Connection) -> int:
        connection.execute(text("SELECT pg_sleep(0.02)"))
        return int(connection.scalar(mine) or 0)

    seen = await asyncio.gather(*(database.read(slow) for _ in range(40)))
    assert max(seen) <= CONNECTIONS


async def test_a_read_sees_one_state(postgres_server: PostgresServer, database: Database) -> None:
    loop = asyncio.get_running_loop()

    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = _notes(connection)
        asyncio.run_coroutine_threadsafe(database.write(_add, "between"), loop).result(10)
        return before, _notes(connection)

    before, after = await database.read(twice)
    assert before == after == []
    await eventually(lambda: database.read(_notes))
