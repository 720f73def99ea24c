"""Fixtures for every suite: a real Redis, real S3 servers, a whole mesh; each a session's, per xdist worker."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

import nnpm
from support import models
from support.mesh import Mesh
from support.minio_server import MinioServer
from support.postgres_server import PostgresServer
from support.redis_server import RedisServer
from support.versity_server import VersityServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis. Its data are shared by a session's tests: use keys of your own, or `redis_url`."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a running, empty Redis."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone, to be killed and started again: it keeps its data on disk."""
    server = RedisServer(tmp_path, persistent=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, shared by a session's tests: use `database_url`, or a database of your own."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for this test alone, to be shut down, killed and started again."""
    server = PostgresServer(durable=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases and answers their URLs; of each kind in turn."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path}/database-{next(numbers)}.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.make_database


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """The URL of an empty database, of each kind in turn."""
    return new_database()


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A running MinIO, shared by a session's tests: make buckets of your own."""
    server = MinioServer(tmp_path_factory.mktemp("minio"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def versity_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VersityServer]:
    """A running Versity gateway, an S3 that is not MinIO, shared likewise."""
    server = VersityServer(tmp_path_factory.mktemp("versity"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A healthy mesh with one worker, shared by a session's tests: use package names of your own, break nothing."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        yield mesh.up()
    finally:
        mesh.down()


@pytest.fixture(scope="session")
def serve(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[str, Path]]]:
    """`serve(model, "hint")` publishes and deploys a model under a new name and waits; its package and its file."""
    numbers = itertools.count()

    with nnpm.Client(mesh.data) as client:

        def serve(model: onnx.ModelProto, hint: str) -> tuple[str, Path]:
            path = models.save(model, tmp_path_factory.mktemp(hint))
            package = f"test/{hint}-{next(numbers)}"
            client.publish(path, name=package, version="1.0.0", license="Apache-2.0")
            client.deploy(package, wait=True)
            return package, path

        yield serve
