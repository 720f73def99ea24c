"""Every service's database comes forward from every revision with its data, on both kinds of database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    insert,
    inspect,
    select,
    text,
)

import nnpm_artifact
import nnpm_registry
import nnpm_scheduler.control
from nnpm.sql.database import Database
from nnpm.sql.engines import WRITES, open_engine
from nnpm_artifact.store.schema import metadata as artifact_metadata
from nnpm_registry.store.schema import metadata as registry_metadata
from nnpm_scheduler.control.schema import metadata as scheduler_metadata


@dataclass(frozen=True, slots=True)
class Service:
    """Whose database it is."""

    name: str
    migrations: Path
    metadata: MetaData

    @property
    def config(self) -> Config:
        config = Config()
        config.set_main_option("script_location", str(self.migrations))
        return config

    @property
    def revisions(self) -> list[str]:
        """The oldest first."""
        return [script.revision for script in ScriptDirectory.from_config(self.config).walk_revisions()][::-1]


SERVICES = [
    Service("registry", Path(nnpm_registry.__file__).with_name("migrations"), registry_metadata),
    Service("artifact", Path(nnpm_artifact.__file__).with_name("migrations"), artifact_metadata),
    Service("scheduler", Path(nnpm_scheduler.control.__path__[0]) / "migrations", scheduler_metadata),
]
STEPS = [(service, revision) for service in SERVICES for revision in service.revisions]


def _name(value: object) -> str:
    return value.name if isinstance(value, Service) else str(value)


@pytest.mark.parametrize(("service", "revision"), STEPS, ids=_name)
def test_a_database_comes_forward_with_its_data(service: Service, revision: str, database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.execution_options(**WRITES).begin() as connection:
        config = service.config
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    before = _filled(engine)
    assert all(before.values())

    database = Database(service.name, database_url, service.migrations)
    assert not database.migrate()
    database.close()

    with engine.connect() as connection:
        assert _head(connection) == service.revisions[-1]
        assert compare_metadata(MigrationContext.configure(connection), service.metadata) == []
        for name, rows in before.items():
            columns = list(rows[0])
            table = _reflected(connection).tables[name]
            found = connection.execute(select(*(table.c[column] for column in columns))).mappings()
            assert sorted(map(dict, found), key=repr) == sorted(rows, key=repr)
    engine.dispose()


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_names_are_sorted_by_their_bytes(database_url: str) -> None:
    """As SQLite does, and as pages promise, in a database whose locale sorts otherwise."""
    (service,) = (service for service in SERVICES if service.name == "registry")
    database = Database(service.name, database_url, service.migrations)
    database.migrate()
    database.close()
    names = ["a-b", "a/c", "aa", "a1", "a"]
    engine = open_engine(database_url)
    with engine.execution_options(**WRITES).begin() as connection:
        for name in names:
            connection.execute(text("INSERT INTO namespaces VALUES (:name, NULL, 0)"), {"name": name})
        found = list(connection.scalars(text("SELECT name FROM namespaces ORDER BY name")))
        collations = connection.execute(
            text("SELECT collation_name FROM information_schema.columns WHERE column_name IN ('name', 'tag')")
        )
        assert "C" in {row.collation_name for row in collations}
    engine.dispose()
    assert found == sorted(names)


def _filled(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """One row in each table that has none; all rows, by table."""
    with engine.execution_options(**WRITES).begin() as connection:
        tables = _reflected(connection)
        for table in tables.sorted_tables:
            if not connection.execute(select(table)).first():
                connection.execute(insert(table).values({column.name: _value(column) for column in table.columns}))
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def _value(column: Column[Any]) -> object:
    """The same in every table, so that keys of other tables fit."""
    match column.type:
        case Boolean():
            return True
        case Integer():
            return 1
        case Float():
            return 2.5
        case LargeBinary():
            return bytes(range(32))
        case _:
            return "ä"


def _reflected(connection: Connection) -> MetaData:
    tables = MetaData()
    tables.reflect(connection)
    return tables


def _head(connection: Connection) -> str | None:
    assert inspect(connection).has_table("alembic_version")
    return MigrationContext.configure(connection).get_current_revision()
