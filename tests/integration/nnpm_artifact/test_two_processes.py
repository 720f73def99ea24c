"""Two artifact processes on one bucket and one PostgreSQL: uploads, reads and collections through both at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.errors import FailedPrecondition, NnpmError, Unavailable
from nnpm.rpc.channels import open_channel
from support.artifact import ArtifactClient, content, cut, digest
from support.artifact_process import ArtifactProcess
from support.minio_server import MinioServer
from support.postgres_server import PostgresServer
from support.waiting import eventually

FILES = 24
CHUNKS = 12


@pytest.fixture
def settings(minio_server: MinioServer, postgres_server: PostgresServer) -> dict[str, str]:
    """One bucket, one database."""
    database = {"NNPM_ARTIFACT_DATABASE_URL": postgres_server.make_database()}
    return minio_server.settings(minio_server.make_bucket()) | database


@pytest.fixture
def start(
    tmp_path: Path, settings: dict[str, str], artifact_process: Callable[..., ArtifactProcess]
) -> Callable[[str], ArtifactProcess]:
    def start(name: str) -> ArtifactProcess:
        (tmp_path / name).mkdir()
        return artifact_process(settings, tmp_path / name)

    return start


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[ArtifactProcess], ArtifactClient]]:
    async with AsyncExitStack() as stack:
        channels = []

        def connect(process: ArtifactProcess) -> ArtifactClient:
            channels.append(open_channel(process.address, timeout=60))
            return ArtifactClient(channels[-1])

        yield connect
        for channel in channels:
            await stack.enter_async_context(channel)


def overlapping(number: int) -> bytes:
    """A file of chunks that many others have as well."""
    source = random.Random(number)
    return b"".join(content(64 * 1024, seed=source.randrange(40)) for _ in range(CHUNKS)) + content(5000, seed=number)


async def put(client: ArtifactClient, data: bytes, namespace: str = "acme") -> str:
    """As a publisher does: what a collection took meanwhile is sent again."""

    async def stored() -> str:
        try:
            return await client.put(data, namespace)
        except (Unavailable, FailedPrecondition):
            return ""

    return await eventually(stored, 60)


def packs_of(settings: dict[str, str], server: MinioServer) -> tuple[set[str], set[str]]:
    """Names of the objects in the bucket and of the rows in the database."""
    bucket = settings["NNPM_ARTIFACT_STORE"].removeprefix("s3://").partition("?")[0]
    objects = {str(found.object_name) for found in server.client().list_objects(bucket_name=bucket, recursive=True)}
    engine = create_engine(settings["NNPM_ARTIFACT_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        rows = set(connection.scalars(text("SELECT name FROM packs")))
    engine.dispose()
    return objects, rows


async def test_uploads_and_collections_through_both_lose_nothing_and_keep_nothing(
    start: Callable[[str], ArtifactProcess],
    connect: Callable[[ArtifactProcess], ArtifactClient],
    settings: dict[str, str],
    minio_server: MinioServer,
) -> None:
    clients = [connect(start("one")), connect(start("two"))]
    kept = [overlapping(number) for number in range(FILES)]
    done = asyncio.Event()

    async def keep(number: int) -> None:
        client = clients[number % 2]
        upload = await put(client, kept[number])
        await client.refer(f"file-{number}", kept[number])
        if number % 3 == 0:
            await clients[(number + 1) % 2].stub.DeleteUpload(pb.DeleteUploadRequest(upload_id=upload))

    async def collect(client: ArtifactClient) -> None:
        while not done.is_set():
            await client.collect(0)

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(collect(client))
        await asyncio.gather(*(keep(number) for number in range(FILES)))
        done.set()
    for number, data in enumerate(kept):
        assert await clients[(number + 1) % 2].read(digest(data)) == data
    for client in clients:
        await client.collect(0)
    objects, rows = await asyncio.to_thread(packs_of, settings, minio_server)
    assert {name.removesuffix(".pack") for name in objects} == rows


async def test_one_that_starts_does_not_disturb_what_the_other_stores(
    start: Callable[[str], ArtifactProcess], connect: Callable[[ArtifactProcess], ArtifactClient]
) -> None:
    one = connect(start("one"))
    data = content(24 << 20)
    sending = asyncio.create_task(one.put(data))
    two = connect(await asyncio.to_thread(start, "two"))
    await sending
    assert await two.read(digest(data)) == data


async def test_what_a_killed_one_was_writing_is_taken_in_by_the_other(
    start: Callable[[str], ArtifactProcess],
    connect: Callable[[ArtifactProcess], ArtifactClient],
    settings: dict[str, str],
    minio_server: MinioServer,
) -> None:
    first = start("one")
    two = connect(await asyncio.to_thread(start, "two"))
    one = connect(first)
    data = content(70 << 20)
    upload = await two.open_upload()
    sending = asyncio.create_task(one.send(upload, cut(data)))

    async def something_stored() -> bool:
        return bool((await asyncio.to_thread(packs_of, settings, minio_server))[1])

    await eventually(something_stored, 60)
    first.kill()
    with pytest.raises(NnpmError):
        await sending

    def nothing_written() -> bool:
        engine = create_engine(settings["NNPM_ARTIFACT_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            left = connection.scalar(text("SELECT count(*) FROM packs WHERE state = 1"))
        engine.dispose()
        return left == 0

    await eventually(lambda: asyncio.to_thread(nothing_written), 60)
    pieces = cut(data)
    await two.send(upload, await two.missing(upload, pieces))
    await two.commit(upload, data, pieces)
    assert await two.read(digest(data)) == data


async def test_both_build_a_lost_index_anew_at_once(
    artifact_process: Callable[..., ArtifactProcess],
    start: Callable[[str], ArtifactProcess],
    connect: Callable[[ArtifactProcess], ArtifactClient],
    settings: dict[str, str],
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> None:
    first = start("one")
    client = connect(first)
    kept = [overlapping(number) for number in range(8)]
    for number, data in enumerate(kept):
        await client.put(data)
        await client.refer(f"file-{number}", data)
    await asyncio.to_thread(first.stop)
    lost = settings | {"NNPM_ARTIFACT_DATABASE_URL": postgres_server.make_database()}
    for name in ("three", "four"):
        (tmp_path / name).mkdir()
    both = await asyncio.gather(
        *(asyncio.to_thread(artifact_process, lost, tmp_path / name) for name in ("three", "four"))
    )
    clients = [connect(process) for process in both]
    for client in clients:
        await client.collect(0)
    for client in clients:
        for data in kept:
            assert await client.read(digest(data)) == data
