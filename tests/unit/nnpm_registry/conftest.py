"""The registry's rooms over an empty database of each kind, and published versions without files."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import nnpm_registry
from nnpm.sql.database import Database
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_registry.packages import Packages
from nnpm_registry.records import Report, Version
from nnpm_registry.store import drafts
from nnpm_registry.tags import Tags
from nnpm_registry.versions import Versions
from support.registry import manifest

REPORT = Report(Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),)))

Publish = Callable[..., Awaitable[Version]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database("registry", database_url, Path(nnpm_registry.__file__).parent / "migrations")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def versions(database: Database) -> Versions:
    return Versions(database, draft_seconds=3600)


@pytest.fixture
def packages(database: Database) -> Packages:
    return Packages(database)


@pytest.fixture
def tags(database: Database) -> Tags:
    return Tags(database)


@pytest.fixture
def publish(database: Database, versions: Versions) -> Publish:
    """Publishes a version whose files nobody checks."""

    async def act(version: str = "1.0.0", name: str = "acme/tiny", **fields: Any) -> Version:
        wanted = manifest({"model.onnx": b"model"}, name, version, **fields)
        draft = await versions.create(wanted.canonical(), "")
        _, claimed, claim = await database.write(drafts.claim, name, version, draft.digest, 60)
        assert claimed is not None
        return await database.write(drafts.publish, claimed, claim, wanted, REPORT)

    return act
