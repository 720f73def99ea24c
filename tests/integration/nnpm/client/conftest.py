"""An artifact service of the test's own, and a connection to it."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnpm.client.connection import Connection
from nnpm.mesh.find import MeshAddresses
from support.artifact_process import ArtifactProcess


@pytest.fixture
def own_artifact(tmp_path: Path) -> Iterator[ArtifactProcess]:
    """A running artifact service over a local folder, to be killed at will."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    process = ArtifactProcess(folder, {})
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where the client hashes and reads."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
async def artifact_connection(own_artifact: ArtifactProcess) -> AsyncIterator[Connection]:
    """A client's connection that reaches the artifact service only."""
    connection = connect(own_artifact.address)
    try:
        yield connection
    finally:
        await connection.close()


def connect(artifact: str) -> Connection:
    """A connection whose other services are not there."""
    nobody = "127.0.0.1:1"
    return Connection(MeshAddresses(nobody, nobody, nobody, artifact, traces="", source="the test"))
