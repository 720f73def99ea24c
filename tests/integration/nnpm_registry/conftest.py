"""A registry and an artifact service, each a process of its own, over an empty folder and databases of each kind."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from support.artifact_process import ArtifactProcess
from support.registry import Publisher, RegistryProcess


@pytest.fixture
def artifact(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[ArtifactProcess]:
    """A running artifact service over a local store."""
    (tmp_path / "artifact").mkdir()
    settings = {"NNPM_ARTIFACT_GARBAGE_GRACE_SECONDS": "0", "NNPM_ARTIFACT_DATABASE_URL": new_database()}
    process = ArtifactProcess(tmp_path / "artifact", settings)
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
def registry(tmp_path: Path, artifact: ArtifactProcess, new_database: Callable[[], str]) -> Iterator[RegistryProcess]:
    """A running registry before that artifact service."""
    (tmp_path / "registry").mkdir()
    settings = {"NNPM_REGISTRY_DATABASE_URL": new_database()}
    process = RegistryProcess(tmp_path / "registry", artifact.address, settings)
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
async def publisher(registry: RegistryProcess, artifact: ArtifactProcess) -> AsyncIterator[Publisher]:
    """A client of both."""
    async with Publisher.connected(registry.address, artifact.address) as publisher:
        yield publisher
