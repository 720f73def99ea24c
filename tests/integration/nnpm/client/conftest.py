"""An artifact service of the test's own, and a connection to it."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnpm.client.connection import Connection
from nnpm.mesh.find import MeshAddresses
from support.artifact_process import ArtifactProcess
from support.counting_proxy import CountingProxy
from support.minio_server import MinioServer


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


@pytest.fixture
def store_traffic(minio_server: MinioServer) -> Iterator[CountingProxy]:
    """Between an artifact service and its store."""
    with CountingProxy(minio_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def connection_over_s3(
    minio_server: MinioServer, store_traffic: CountingProxy, tmp_path: Path
) -> AsyncIterator[Connection]:
    """A client's connection to an artifact service over MinIO, by way of `store_traffic`."""
    bucket = minio_server.make_bucket()
    settings = minio_server.settings(bucket)
    settings["NNPM_ARTIFACT_STORE"] = f"s3://{bucket}?endpoint=http://{store_traffic.address}"
    process = ArtifactProcess(tmp_path, settings)
    try:
        connection = connect(process.start().address)
        yield connection
        await connection.close()
    finally:
        process.end()


def connect(artifact: str) -> Connection:
    """A connection whose other services are not there."""
    nobody = "127.0.0.1:1"
    return Connection(MeshAddresses(nobody, nobody, nobody, artifact, traces="", source="the test"))
