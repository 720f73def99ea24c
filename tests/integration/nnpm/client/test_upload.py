import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.client.connection import Connection
from nnpm.client.records import OnProgress, Progress, ignore_progress
from nnpm.client.upload import LocalFile, Upload
from nnpm.errors import FailedPrecondition
from support.artifact_process import ArtifactProcess
from support.counting_proxy import CountingProxy
from support.files import chunked

PACK = 32 << 20


async def open_upload(
    connection: Connection, threads: ThreadPoolExecutor, request_id: str = "", on_progress: OnProgress = ignore_progress
) -> Upload:
    request = artifact_pb2.CreateUploadRequest(namespace="acme", request_id=request_id)
    opened = await connection.artifact.CreateUpload(request)
    return Upload(connection.artifact, opened.upload_id, threads, on_progress)


def local(path: Path, content: bytes) -> LocalFile:
    path.write_bytes(content)
    return LocalFile(path, chunked(path))


async def read(connection: Connection, file: LocalFile) -> bytes:
    request = artifact_pb2.ReadFileRequest(namespace="acme", digest=file.cut.digest)
    return b"".join([part.data async for part in connection.artifact.ReadFile(request, timeout=60)])


async def test_what_is_uploaded_can_be_read(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"a": random.Random(1).randbytes(3_000_000), "empty": b"", "zeros": bytes(2_000_000), "small": b"x"}
    files = [local(tmp_path / name, content) for name, content in contents.items()]
    upload = await open_upload(artifact_connection, threads)
    await upload.store(files)
    for file, content in zip(files, contents.values(), strict=True):
        assert await read(artifact_connection, file) == content
    assert upload.sent_bytes < 3_000_000 + 262_144 * 2  # one chunk stands for all zeros


async def test_a_changed_layer_sends_its_chunks_only(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    layers = [random.Random(seed).randbytes(4_000_000) for seed in range(5)]
    first = await open_upload(artifact_connection, threads)
    await first.store([local(tmp_path / "one", b"".join(layers))])
    layers[2] = random.Random(99).randbytes(4_000_000)
    changed = local(tmp_path / "two", b"".join(layers))
    second = await open_upload(artifact_connection, threads)
    await second.store([changed])
    assert 4_000_000 <= second.sent_bytes < 4_000_000 + 3 * 262_144
    assert await read(artifact_connection, changed) == b"".join(layers)


async def test_the_same_again_sends_nothing(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    file = local(tmp_path / "file", random.Random(4).randbytes(5_000_000))
    for expected in (5_000_000, 0):
        upload = await open_upload(artifact_connection, threads)
        await upload.store([file])
        assert upload.sent_bytes == expected


async def test_a_killed_service_costs_a_pack_at_most(
    own_artifact: ArtifactProcess, artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    content = random.Random(5).randbytes(160 << 20)
    file = local(tmp_path / "file", content)
    halfway = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch(progress: Progress) -> None:
        if progress.done > progress.total // 2:
            loop.call_soon_threadsafe(halfway.set)

    upload = await open_upload(artifact_connection, threads, on_progress=watch)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(upload.store([file]))
        await halfway.wait()
        own_artifact.kill()
        await asyncio.to_thread(own_artifact.start)
    assert upload.sent_bytes <= len(content) + 2 * PACK
    assert await read(artifact_connection, file) == content


async def test_an_interrupted_upload_goes_on_where_it_was(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    content = random.Random(6).randbytes(120 << 20)
    file = local(tmp_path / "file", content)
    sent = 0
    for share in (0.2, 0.5, 0.7, 2.0):
        reached = asyncio.Event()

        def watch(progress: Progress, share: float = share, reached: asyncio.Event = reached) -> None:
            if progress.done > progress.total * share:
                reached.set()

        upload = await open_upload(artifact_connection, threads, "the same", watch)
        task = asyncio.ensure_future(upload.store([file]))
        waiter = asyncio.ensure_future(reached.wait())
        async with asyncio.timeout(60):
            await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
        sent += upload.sent_bytes
    assert not task.cancelled()
    task.result()
    assert sent <= len(content) + 3 * PACK
    assert await read(artifact_connection, file) == content


async def test_a_commit_reads_nothing_back_from_the_store(
    store_traffic: CountingProxy, connection_over_s3: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    content = b"".join(random.Random(seed).randbytes(150 << 20) for seed in (9, 10))  # two calls' worth
    file = local(tmp_path / "file", content)
    upload = await open_upload(connection_over_s3, threads)
    await upload.store([file])
    assert upload.sent_bytes == len(content)
    assert store_traffic.sent > len(content)
    assert store_traffic.received < 1 << 20


async def test_a_file_that_changes_meanwhile_is_refused(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    file = local(tmp_path / "file", random.Random(7).randbytes(1_000_000))
    file.path.write_bytes(random.Random(8).randbytes(1_000_000))
    upload = await open_upload(artifact_connection, threads)
    with pytest.raises(FailedPrecondition) as caught:
        await upload.store([file])
    assert caught.value.reason == "UPLOAD_CHANGED"
