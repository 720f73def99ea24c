"""Who reaches the store reads from it, the same bytes; who does not reads through the service, and does not notice."""

import io
import random
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.artifacts.reader import FileReader
from nnpm.errors import DataLoss, FailedPrecondition
from nnpm.package.digest import format_digest
from nnpm.rpc.channels import open_channel
from support.artifact import ArtifactClient, content, digest
from support.artifact_process import ArtifactProcess
from support.minio_server import MinioServer
from support.ports import free_port
from support.s3_server import S3Server

MIB = 1 << 20

Start = Callable[..., ArtifactProcess]


@pytest.fixture(params=["minio", "versity"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each kind in turn."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def own_minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """To be killed."""
    server = MinioServer(tmp_path_factory.mktemp("minio"))
    try:
        yield server.start()
    finally:
        server.stop()


@asynccontextmanager
async def _client(service: ArtifactProcess) -> AsyncIterator[ArtifactClient]:
    async with open_channel(service.address, timeout=60) as channel:
        yield ArtifactClient(channel)


async def _read(reader: FileReader, data: bytes, offset: int = 0) -> bytes:
    return b"".join([bytes(part) async for part in reader.read("acme", format_digest(digest(data)), offset)])


async def _ranges(client: ArtifactClient, data: bytes) -> list[pb.StoreRange]:
    request = pb.LocateFileRequest(namespace="acme", digest=format_digest(digest(data)))
    return [one async for answer in client.stub.LocateFile(request) for one in answer.ranges]


async def test_a_file_comes_straight_from_the_store_from_any_offset(
    s3_server: S3Server, artifact_process: Start
) -> None:
    async with _client(artifact_process(s3_server.settings(s3_server.make_bucket()))) as client:
        data = content(70 * MIB, seed=1)  # three packs
        await client.put(data)
        draw = random.Random(7)
        offsets = [0, 1, 65_536, len(data) - 1, len(data), *(draw.randrange(len(data)) for _ in range(4))]
        for offset in offsets:
            reader = FileReader(client.stub)
            assert await _read(reader, data, offset) == data[offset:]
            assert reader.direct_bytes == len(data) - offset


async def test_a_url_opens_its_range_and_nothing_else(s3_server: S3Server, artifact_process: Start) -> None:
    async with _client(artifact_process(s3_server.settings(s3_server.make_bucket()))) as client:
        data, other = content(MIB, seed=1), content(MIB, seed=2)
        upload = await client.open_upload()  # one upload: both lie in one pack
        pieces = [data[:500_000], data[500_000:], other]
        await client.send(upload, pieces)
        await client.commit(upload, data, pieces[:2])
        await client.commit(upload, other, pieces[2:])
        (one,) = await _ranges(client, data)

        def get(first: int, last: int) -> int:
            request = urllib.request.Request(one.url, headers={"Range": f"bytes={first}-{last}"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as refusal:
                return refusal.code

        last = one.first_byte + len(data) - 1
        assert get(one.first_byte, last) == 206
        assert get(one.first_byte, last + 1) == 403
        assert get(0, last) == 403
        assert get(last + 1, last + len(other)) == 403


async def test_a_store_that_cannot_be_reached_is_read_through_the_service(
    minio_server: MinioServer, artifact_process: Start
) -> None:
    settings = minio_server.settings(minio_server.make_bucket())
    settings["NNPM_ARTIFACT_DIRECT_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    async with _client(artifact_process(settings)) as client:
        data = content(5 * MIB)
        await client.put(data)
        said: list[str] = []
        reader = FileReader(client.stub, on_fallback=said.append)
        assert await _read(reader, data) == data
        assert await _read(reader, data, 1000) == data[1000:]
        assert reader.direct_bytes == 0
        assert len(said) == 1  # a store out of reach is not tried again for every file


@pytest.mark.parametrize("store", ["local", "off"])
async def test_a_service_that_gives_no_urls_is_read_itself(
    store: str, minio_server: MinioServer, artifact_process: Start
) -> None:
    settings = {}
    if store == "off":
        settings = minio_server.settings(minio_server.make_bucket()) | {"NNPM_ARTIFACT_DIRECT_ENDPOINT": "off"}
    async with _client(artifact_process(settings)) as client:
        data = content(3 * MIB)
        await client.put(data)
        with pytest.raises(FailedPrecondition) as caught:
            await _ranges(client, data)
        assert caught.value.reason == "DIRECT_READS_OFF"
        reader = FileReader(client.stub)
        assert await _read(reader, data) == data
        assert reader.direct_bytes == 0


async def test_a_store_that_dies_midway_is_not_noticed_where_the_service_still_has_the_bytes(
    own_minio: MinioServer, artifact_process: Start
) -> None:
    """The URLs run out, or the store is cut off from the reader, after some ranges: the rest comes another way."""
    settings = own_minio.settings(own_minio.make_bucket())
    async with _client(artifact_process(settings)) as client:
        data = content(40 * MIB)
        await client.put(data)
        reader = FileReader(client.stub)
        came = []
        async for part in reader.read("acme", format_digest(digest(data)), 0):
            if not came:
                own_minio.kill()
                own_minio.start()
            came.append(bytes(part))
        assert b"".join(came) == data


async def test_damage_in_the_store_is_found_whichever_way_it_is_read(
    versity_server: S3Server, artifact_process: Start
) -> None:
    bucket = versity_server.make_bucket()
    async with _client(artifact_process(versity_server.settings(bucket))) as client:
        data = content(3 * MIB)
        await client.put(data)
        plain = versity_server.client()
        (pack,) = [one.object_name for one in plain.list_objects(bucket, prefix="chunks/", recursive=True)]
        stored = bytearray(plain.get_object(bucket_name=bucket, object_name=pack).read())
        stored[MIB] ^= 1
        plain.put_object(bucket_name=bucket, object_name=pack, data=io.BytesIO(stored), length=len(stored))
        reader = FileReader(client.stub)
        with pytest.raises(DataLoss) as caught:
            await _read(reader, data)
        assert caught.value.reason == "CHUNK_CORRUPT"
