"""Every pack store, and the service as a process over each of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc.aio
import pytest

from nnpm.rpc.channels import open_channel
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.s3_store import Bucket, S3Store
from support.artifact import ArtifactClient
from support.artifact_process import ArtifactProcess
from support.postgres_server import PostgresServer
from support.s3_server import S3Server

S3_SERVERS = ("minio", "versity")
STORES = ("local", *S3_SERVERS)


@pytest.fixture(params=STORES)
def pack_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PackStore]:
    """An empty store, of each kind in turn."""
    store: PackStore
    if request.param == "local":
        store = LocalStore(tmp_path / "packs")
    else:
        server = _server(request)
        bucket = Bucket.parse(server.store_url(server.make_bucket()))
        store = S3Store(bucket, server.access_key, server.secret_key, tmp_path / "staging")
    yield store
    store.close()


@pytest.fixture(params=[*STORES, "postgresql"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """NNPM_* that name an empty store, of each kind in turn over SQLite, and a local one over PostgreSQL."""
    local = {"NNPM_ARTIFACT_STORE": (tmp_path / "packs").as_uri()}
    if request.param == "local":
        return local
    if request.param == "postgresql":
        database: PostgresServer = request.getfixturevalue("postgres_server")
        return local | {"NNPM_ARTIFACT_DATABASE_URL": database.make_database()}
    server = _server(request)
    return server.settings(server.make_bucket())


def _server(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def artifact_process(tmp_path: Path) -> Iterator[Callable[..., ArtifactProcess]]:
    """Starts artifact services that are gone at the end of the test."""
    started: list[ArtifactProcess] = []

    def start(settings: dict[str, str], folder: Path = tmp_path) -> ArtifactProcess:
        process = ArtifactProcess(folder, settings)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.end()


@pytest.fixture
def service(artifact_process: Callable[..., ArtifactProcess], store_settings: dict[str, str]) -> ArtifactProcess:
    """A running service, over each kind of store in turn."""
    return artifact_process(store_settings)


@pytest.fixture
async def client(service: ArtifactProcess) -> AsyncIterator[ArtifactClient]:
    """A client of `service`."""
    async with channel_to(service) as channel:
        yield ArtifactClient(channel)


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArtifactProcess]:
    """A running service over a local store for a module's tests that break nothing: a start takes a second."""
    process = ArtifactProcess(tmp_path_factory.mktemp("artifact"), {})
    try:
        yield process.start()
    finally:
        process.end()


@pytest.fixture
async def shared_client(shared_service: ArtifactProcess) -> AsyncIterator[ArtifactClient]:
    """A client of `shared_service`."""
    async with channel_to(shared_service) as channel:
        yield ArtifactClient(channel)


def channel_to(service: ArtifactProcess) -> grpc.aio.Channel:
    return open_channel(service.address, timeout=60)
