"""A real database of each kind with the scheduler's schema, and a registry that knows what a test tells it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import nnpm_scheduler.control
from nnpm.sql.database import Database
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.failures import LoadFailures
from nnpm_scheduler.control.lifecycle import Lifecycle
from nnpm_scheduler.control.store import Store
from support.desired_state import KnownVersions

MIGRATIONS = Path(nnpm_scheduler.control.__path__[0]) / "migrations"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database("scheduler", database_url, MIGRATIONS)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def registry() -> KnownVersions:
    return KnownVersions()


@pytest.fixture
def failures() -> LoadFailures:
    return LoadFailures()


@pytest.fixture
def desired(store: Store) -> DesiredState:
    return DesiredState(store, Changes())


@pytest.fixture
def lifecycle(store: Store, desired: DesiredState, registry: KnownVersions, failures: LoadFailures) -> Lifecycle:
    return Lifecycle(store, desired, registry, failures)
