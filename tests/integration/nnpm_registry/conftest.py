"""A registry and an artifact service, each a process of its own, over empty folders."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.artifact_process import ArtifactProcess
from support.registry import Publisher, RegistryProcess


@pytest.fixture
def artifact(tmp_path: Path) -> Iterator[ArtifactProcess]:
    """A running artifact service over a local store."""
    (tmp_path / "artifact").mkdir()
    process = ArtifactProcess(tmp_path / "artifact", {"NNPM_ARTIFACT_GARBAGE_GRACE_SECONDS": "0"})
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
def registry(tmp_path: Path, artifact: ArtifactProcess) -> Iterator[RegistryProcess]:
    """A running registry before that artifact service."""
    (tmp_path / "registry").mkdir()
    process = RegistryProcess(tmp_path / "registry", artifact.address)
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
async def publisher(registry: RegistryProcess, artifact: ArtifactProcess) -> AsyncIterator[Publisher]:
    """A client of both."""
    async with Publisher.connected(registry.address, artifact.address) as publisher:
        yield publisher
