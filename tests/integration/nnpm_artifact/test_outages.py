"""A full disk and a dead MinIO are clear errors; the service stays up and works again afterwards."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.errors import ResourceExhausted, Unavailable
from nnpm.rpc.channels import open_channel
from support.artifact import ArtifactClient, content, cut, digest
from support.artifact_process import SERVICE, ArtifactProcess
from support.minio_server import MinioServer
from support.tools import missing
from support.waiting import eventually

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        missing(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.mark.parametrize("with_index", [False, True], ids=["packs", "packs and index"])
async def test_a_full_disk_is_a_clear_error_and_passes(
    artifact_process: Callable[..., ArtifactProcess], small_disk: Path, with_index: bool
) -> None:
    settings = {"NNPM_ARTIFACT_STORE": (small_disk / "packs").as_uri()}
    if with_index:
        settings["NNPM_ARTIFACT_DATABASE_URL"] = f"sqlite:///{small_disk / 'index.db'}"
    service = artifact_process(settings)
    async with open_channel(service.address, retries=False) as channel:
        client = ArtifactClient(channel)
        small = content(5 * MIB, seed=1)
        first = await client.put(small)
        large = content(40 * MIB, seed=2)
        upload = await client.open_upload()
        with pytest.raises(ResourceExhausted) as caught:
            await client.send(upload, cut(large))
        assert caught.value.reason == "DISK_FULL"
        assert caught.value.hint
        assert await client.read(digest(small)) == small
        assert service.process.returncode is None
        await client.stub.DeleteUpload(_delete(first))
        await client.stub.DeleteUpload(_delete(upload))
        assert (await client.collect()).freed_bytes > 5 * MIB
        again = content(8 * MIB, seed=3)
        await client.put(again)
        assert await client.read(digest(again)) == again


async def test_a_dead_minio_is_unavailable_and_works_again_when_it_is_back(
    artifact_process: Callable[..., ArtifactProcess], tmp_path: Path
) -> None:
    folder = tmp_path / "minio"
    folder.mkdir()
    server = MinioServer(folder).start()
    try:
        service = artifact_process(server.settings(server.make_bucket()))
        async with open_channel(service.address, retries=False) as channel:
            client = ArtifactClient(channel)
            data = content(3 * MIB)
            await client.put(data)
            server.kill()
            await eventually(lambda: _serving(service, expected=False), 30)
            upload = await client.open_upload()
            other = cut(content(MIB, seed=2))
            async with asyncio.timeout(40):
                for act in (client.read(digest(data)), client.send(upload, other)):
                    with pytest.raises(Unavailable) as caught:
                        await act
                    assert caught.value.reason == "STORE_UNAVAILABLE"
            server.start()
            await eventually(lambda: _serving(service, expected=True), 30)
            assert await client.read(digest(data)) == data
            await client.send(upload, other)
            assert await client.missing(upload, other) == []
    finally:
        server.stop()


async def test_a_service_waits_for_a_minio_that_is_not_there_yet(
    artifact_process: Callable[..., ArtifactProcess], tmp_path: Path
) -> None:
    folder = tmp_path / "minio"
    folder.mkdir()
    server = MinioServer(folder)
    service = ArtifactProcess(tmp_path, server.settings("made-by-the-service"))
    try:
        service.process.start()
        await eventually(lambda: "STORE_UNAVAILABLE" in service.process.output, 20)
        server.start()
        service.wait_serving()
        async with open_channel(service.address) as channel:
            client = ArtifactClient(channel)
            await client.put(b"hello")
            assert await client.read(digest(b"hello")) == b"hello"
    finally:
        service.end()
        server.stop()


def test_a_second_service_on_the_same_folder_is_refused(
    artifact_process: Callable[..., ArtifactProcess], tmp_path: Path
) -> None:
    first = artifact_process({})
    second = ArtifactProcess(tmp_path, {})
    second.process.start()
    try:
        assert second.process.wait(30) == 1
        assert "STORE_IN_USE" in second.process.output
        first.wait_serving()
    finally:
        second.end()


@pytest.mark.parametrize("url", ["gs://bucket", "s3://bucket", "s3://?endpoint=http://127.0.0.1:1", "packs"])
def test_a_store_that_cannot_be_is_one_clear_line(tmp_path: Path, url: str) -> None:
    service = ArtifactProcess(tmp_path, {"NNPM_ARTIFACT_STORE": url})
    service.process.start()
    try:
        assert service.process.wait(30) == 1
        assert "INVALID_SETTINGS" in service.process.output
        assert "Traceback" not in service.process.output
    finally:
        service.end()


def _delete(upload: str) -> pb.DeleteUploadRequest:
    return pb.DeleteUploadRequest(upload_id=upload)


async def _serving(service: ArtifactProcess, *, expected: bool) -> bool:
    async with grpc.aio.insecure_channel(service.address) as channel:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    return (answer.status == health_pb2.HealthCheckResponse.SERVING) is expected
