"""One database, run off the event loop: transactions, migrations, and what the driver's errors become."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from nnpm.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from nnpm.sql.database import Database


@pytest.fixture
def database(database_url: str, migrations: Path) -> Iterator[Database]:
    database = Database("notes", database_url, migrations)
    assert database.migrate()
    yield database
    database.close()


def _add(connection: Connection, note: str) -> None:
    connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


def _notes(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT text FROM notes ORDER BY text")))


async def test_what_is_written_is_read(database: Database) -> None:
    await database.write(_add, "a")
    assert await database.read(_notes) == ["a"]
    await database.check()


async def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        _add(connection, "a")
        raise KeyError("midway")

    with pytest.raises(KeyError):
        await database.write(half)
    assert await database.read(_notes) == []


async def test_a_rehearsal_is_taken_back(database: Database) -> None:
    def rehearsed(connection: Connection) -> list[str]:
        _add(connection, "a")
        return _notes(connection)

    assert await database.rehearse(rehearsed) == ["a"]
    assert await database.read(_notes) == []


async def test_concurrent_writes_all_take_effect(database: Database) -> None:
    await asyncio.gather(*(database.write(_add, f"{number:02}") for number in range(20)))
    assert len(await database.read(_notes)) == 20


async def test_a_migrated_database_is_not_migrated_again(
    database: Database, database_url: str, migrations: Path
) -> None:
    await database.write(_add, "a")
    again = Database("notes", database_url, migrations)
    assert not again.migrate()
    assert await again.read(_notes) == ["a"]
    again.close()


async def test_a_newer_database_is_refused(database: Database, database_url: str, migrations: Path) -> None:
    await database.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    newer = Database("notes", database_url, migrations)
    with pytest.raises(FailedPrecondition) as refused:
        newer.migrate()
    newer.close()
    assert refused.value.reason == "DATABASE_TOO_NEW"
    assert "9999" in refused.value.message


async def test_writers_that_stay_in_each_others_way_are_told_so(database: Database) -> None:
    await database.write(_add, "a")
    with pytest.raises(Unavailable) as refused:
        await database.write(_add, "a")
    assert refused.value.reason == "DATABASE_UNAVAILABLE"


async def test_writers_of_two_processes_are_not_in_each_others_way(
    database: Database, database_url: str, migrations: Path
) -> None:
    def count_up(connection: Connection) -> None:
        (last,) = _notes(connection)
        connection.execute(text("UPDATE notes SET text = :next"), {"next": f"{int(last) + 1:03}"})

    await database.write(_add, "000")
    other = Database("notes", database_url, migrations)
    await asyncio.gather(*(each.write(count_up) for each in [database, other] * 20))
    assert await database.read(_notes) == ["040"]
    other.close()


async def test_a_folder_for_the_file_is_made(tmp_path: Path, migrations: Path) -> None:
    database = Database("notes", f"sqlite:///{tmp_path}/new/folder/notes.db", migrations)
    assert database.migrate()
    database.close()


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense"])
def test_a_database_of_another_kind_is_refused(url: str, migrations: Path) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Database("notes", url, migrations)
    assert refused.value.reason == "INVALID_SETTINGS"


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
async def test_a_full_disk_is_said_to_be_full(database: Database) -> None:
    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # SQLite then answers as on a full disk
        for number in range(1000):
            _add(connection, f"{number}" * 100)

    with pytest.raises(ResourceExhausted) as refused:
        await database.write(fill)
    assert refused.value.reason == "DISK_FULL"


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, migrations: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    broken = Database("notes", f"sqlite:///{tmp_path}/broken.db", migrations)
    with pytest.raises(Unavailable) as refused:
        broken.migrate()
    broken.close()
    assert refused.value.reason == "DATABASE_UNAVAILABLE"


def test_services_that_start_together_migrate_once(database_url: str, migrations: Path) -> None:
    databases = [Database("notes", database_url, migrations) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        was_empty = list(threads.map(Database.migrate, databases))
    assert sorted(was_empty) == [False, False, False, True]
    for database in databases:
        database.close()
