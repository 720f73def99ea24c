"""The artifact service over gRPC, as a process, over both stores."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.errors import DataLoss, FailedPrecondition, InvalidArgument, NnpmError, NotFound, OutOfRange
from nnpm.package.digest import format_digest
from support.artifact import ArtifactClient, commit_messages, content, cut, digest, refs, upload_messages
from support.artifact_process import ArtifactProcess
from support.ports import free_port
from support.waiting import eventually


async def test_a_file_goes_in_and_comes_out(client: ArtifactClient) -> None:
    data = content(9_876_543)
    upload = await client.open_upload()
    pieces = cut(data)
    assert await client.missing(upload, pieces) == pieces
    stored = await client.send(upload, pieces)
    assert (stored.stored_chunks, stored.stored_bytes) == (len(pieces), len(data))
    file = await client.commit(upload, data)
    assert (file.namespace, file.digest, file.size) == ("acme", format_digest(digest(data)), len(data))
    assert abs(file.create_time.ToSeconds() - time.time()) < 60
    assert await client.read(digest(data)) == data
    assert await client.read(digest(data), 1_000_001, 2_345_678) == data[1_000_001:3_345_679]
    got = await client.stub.GetFile(pb.GetFileRequest(namespace="acme", digest=file.digest))
    assert got.file == file
    recipe = client.stub.ReadRecipe(pb.ReadRecipeRequest(namespace="acme", digest=file.digest))
    chunks = [(chunk.digest, chunk.size) async for part in recipe for chunk in part.chunks]
    assert chunks == [(chunk.digest, chunk.size) for chunk in refs(pieces)]


async def test_a_delta_sends_only_what_changed(client: ArtifactClient) -> None:
    data = content(4_000_000)
    upload = await client.put(data)
    changed = data[:2_000_000] + content(65_536, seed=5) + data[2_065_536:]
    missing = await client.missing(upload, cut(changed))
    assert sum(map(len, missing)) <= 2 * 65_536
    await client.send(upload, missing)
    await client.commit(upload, changed)
    assert await client.read(digest(changed)) == changed


async def test_garbage_is_collected_and_what_is_held_is_not(client: ArtifactClient) -> None:
    kept, free = content(300_000, seed=1), content(300_000, seed=2)
    uploads = [await client.put(kept), await client.put(free)]
    await client.refer("acme/kept@1.0.0", kept)
    for upload in uploads:
        await client.stub.DeleteUpload(pb.DeleteUploadRequest(upload_id=upload))
    assert (await client.collect(grace=None)).waiting_files == 1  # the service's own grace period holds it
    dry = await client.collect(dry_run=True)
    collected = await client.collect()
    assert dry == collected
    assert (collected.deleted_files, collected.waiting_files) == (1, 0)
    assert collected.freed_bytes > 300_000
    assert await client.read(digest(kept)) == kept
    with pytest.raises(NotFound):
        await client.read(digest(free))


async def test_many_uploads_of_the_same_file_at_once(client: ArtifactClient) -> None:
    data = content(3_000_000)
    await asyncio.gather(*(client.put(data) for _ in range(6)))
    assert await client.read(digest(data)) == data


async def test_a_stream_broken_by_the_client_keeps_what_had_arrived(client: ArtifactClient) -> None:
    pieces = cut(content(48 << 20))
    upload = await client.open_upload()

    async def endless() -> AsyncIterator[pb.UploadChunksRequest]:
        for message in upload_messages(upload, pieces):
            yield message
        await asyncio.Event().wait()

    async def missing_bytes() -> int:
        return sum(map(len, await client.missing(upload, pieces)))

    stream = asyncio.ensure_future(client.stub.UploadChunks(endless()))
    await eventually(lambda: _at_most(missing_bytes, 16 << 20), 60, what="the first pack is stored")
    stream.cancel()
    await asyncio.wait([stream])
    missing = await client.missing(upload, pieces)
    assert sum(map(len, missing)) < 16 << 20, "the pack that was not full is stored as well"
    await client.send(upload, missing)
    await client.commit(upload, b"".join(pieces), pieces)


async def _at_most(count: Callable[[], Awaitable[int]], limit: int) -> bool:
    return await count() <= limit


BAD_CALLS: dict[str, tuple[Callable[[ArtifactClient, str], object], type[NnpmError], str]] = {
    "namespace": (
        lambda client, upload: client.stub.CreateUpload(pb.CreateUploadRequest(namespace="A/../b")),
        InvalidArgument,
        "INVALID_NAMESPACE",
    ),
    "unknown upload": (
        lambda client, upload: client.stub.FindMissingChunks(pb.FindMissingChunksRequest(upload_id="x")),
        NotFound,
        "UPLOAD_NOT_FOUND",
    ),
    "too many chunks": (
        lambda client, upload: client.stub.FindMissingChunks(
            pb.FindMissingChunksRequest(upload_id=upload, chunks=[pb.Chunk(digest=bytes(32), size=1)] * 8193)
        ),
        InvalidArgument,
        "TOO_MANY_CHUNKS",
    ),
    "short digest": (
        lambda client, upload: client.stub.FindMissingChunks(
            pb.FindMissingChunksRequest(upload_id=upload, chunks=[pb.Chunk(digest=b"x", size=1)])
        ),
        InvalidArgument,
        "INVALID_DIGEST",
    ),
    "enormous chunk": (
        lambda client, upload: client.stub.FindMissingChunks(
            pb.FindMissingChunksRequest(upload_id=upload, chunks=[pb.Chunk(digest=bytes(32), size=2**32 - 1)])
        ),
        InvalidArgument,
        "INVALID_CHUNK_SIZE",
    ),
    "wrong bytes": (
        lambda client, upload: client.stub.UploadChunks(
            iter([pb.UploadChunksRequest(upload_id=upload, chunks=[pb.ChunkData(digest=bytes(32), data=b"x")])])
        ),
        InvalidArgument,
        "CHUNK_DIGEST_MISMATCH",
    ),
    "empty chunk": (
        lambda client, upload: client.stub.UploadChunks(
            iter([pb.UploadChunksRequest(upload_id=upload, chunks=[pb.ChunkData(digest=digest(b""), data=b"")])])
        ),
        InvalidArgument,
        "INVALID_CHUNK_SIZE",
    ),
    "too many bytes": (
        lambda client, upload: client.stub.UploadChunks(
            iter(
                [
                    pb.UploadChunksRequest(
                        upload_id=upload,
                        chunks=[pb.ChunkData(digest=digest(bytes(1 << 20)), data=bytes(1 << 20))] * 5,
                    )
                ]
            )
        ),
        InvalidArgument,
        "TOO_MANY_CHUNKS",
    ),
    "no first message": (lambda client, upload: client.stub.UploadChunks(iter([])), NotFound, "UPLOAD_NOT_FOUND"),
    "another upload midway": (
        lambda client, upload: client.stub.UploadChunks(
            iter([pb.UploadChunksRequest(upload_id=upload), pb.UploadChunksRequest(upload_id="other")])
        ),
        InvalidArgument,
        "UPLOAD_CHANGED",
    ),
    "commit of nothing": (lambda client, upload: client.stub.CommitFile(iter([])), InvalidArgument, "INVALID_DIGEST"),
    "negative size": (
        lambda client, upload: client.stub.CommitFile(commit_messages(upload, bytes(32), -1, [])),
        InvalidArgument,
        "INVALID_FILE_SIZE",
    ),
    "enormous size": (
        lambda client, upload: client.stub.CommitFile(commit_messages(upload, bytes(32), 2**63 - 1, [])),
        InvalidArgument,
        "INVALID_FILE_SIZE",
    ),
    "chunks outside the lease": (
        lambda client, upload: client.stub.CommitFile(commit_messages(upload, digest(b"x"), 1, refs([b"x"]))),
        FailedPrecondition,
        "CHUNK_NOT_IN_UPLOAD",
    ),
    "unknown file": (
        lambda client, upload: client.stub.GetFile(
            pb.GetFileRequest(namespace="acme", digest=format_digest(bytes(32)))
        ),
        NotFound,
        "FILE_NOT_FOUND",
    ),
    "a digest that is none": (
        lambda client, upload: client.stub.GetFile(pb.GetFileRequest(namespace="acme", digest="sha256:XYZ")),
        InvalidArgument,
        "INVALID_DIGEST",
    ),
    "reference to nothing": (
        lambda client, upload: client.stub.AddReferences(
            pb.AddReferencesRequest(namespace="acme", referrer="r", digests=[format_digest(bytes(32))])
        ),
        NotFound,
        "FILE_NOT_FOUND",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
async def test_a_bad_call_gets_a_clear_error(shared_client: ArtifactClient, name: str) -> None:
    client = shared_client
    call, kind, reason = BAD_CALLS[name]
    upload = await client.open_upload()
    with pytest.raises(kind) as caught:
        await call(client, upload)
    assert caught.value.reason == reason
    assert await client.open_upload()


async def test_bad_ranges_get_clear_errors(shared_client: ArtifactClient) -> None:
    client = shared_client
    data = content(1000)
    await client.put(data)
    for offset, length, kind, reason in (
        (1001, 0, OutOfRange, "OFFSET_PAST_END"),
        (2**63 - 1, 1, OutOfRange, "OFFSET_PAST_END"),
        (-1, 0, InvalidArgument, "INVALID_FILE_RANGE"),
        (0, -(2**63), InvalidArgument, "INVALID_FILE_RANGE"),
    ):
        with pytest.raises(kind) as caught:
            await client.read(digest(data), offset, length)
        assert caught.value.reason == reason
    assert await client.read(digest(data), 1, 2**63 - 1) == data[1:]


async def test_bytes_that_are_no_message_are_refused(shared_service: ArtifactProcess) -> None:
    async with grpc.aio.insecure_channel(shared_service.address) as channel:
        call = channel.unary_unary("/nnpm.api.artifact.v1.ArtifactService/GetFile")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("store_settings", ["local"], indirect=True)
async def test_a_damaged_chunk_is_data_loss(client: ArtifactClient, tmp_path) -> None:
    data = content(1_000_000)
    await client.put(data)
    (path,) = (tmp_path / "packs" / "chunks").rglob("*.pack")
    stored = bytearray(path.read_bytes())
    stored[500_000] ^= 1
    path.write_bytes(stored)
    with pytest.raises(DataLoss) as caught:
        await client.read(digest(data))
    assert caught.value.reason == "CHUNK_CORRUPT"


async def test_it_ends_with_0_on_sigterm_and_has_everything_after_a_restart(
    service: ArtifactProcess, client: ArtifactClient
) -> None:
    data = content(700_000)
    await client.put(data)
    assert service.stop() == 0
    service.start()
    assert await client.read(digest(data)) == data


@pytest.mark.parametrize("store_settings", ["local"], indirect=True)
def test_the_log_is_json_and_metrics_are_served(
    artifact_process: Callable[..., ArtifactProcess], store_settings: dict[str, str]
) -> None:
    port = free_port()
    service = artifact_process({**store_settings, "NNPM_METRICS_LISTEN": f"127.0.0.1:{port}"})
    lines = [json.loads(line) for line in service.process.output.splitlines()]
    assert {"listening", "ready"} <= {line["event"] for line in lines}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"nnpm_bytes" in answer.read()
