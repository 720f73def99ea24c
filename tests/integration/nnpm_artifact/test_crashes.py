"""kill -9 at any point loses nothing committed, leaves nothing half visible, and costs little to resume."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.errors import NnpmError, NotFound
from nnpm.rpc.channels import open_channel
from support.artifact import ArtifactClient, content, cut, digest, upload_messages
from support.artifact_process import ArtifactProcess
from support.waiting import eventually

MIB = 1 << 20


async def test_a_service_killed_mid_upload_keeps_the_packs_that_were_stored(service: ArtifactProcess) -> None:
    data = content(100 * MIB)
    pieces = cut(data)
    before = content(3 * MIB, seed=1)
    async with open_channel(service.address) as channel:
        client = ArtifactClient(channel)
        await client.put(before)
        upload = await client.open_upload()
        sending = asyncio.ensure_future(client.stub.UploadChunks(_slowly(upload, pieces)))

        async def a_pack_is_stored() -> bool:
            return len(await client.missing(upload, pieces)) <= len(pieces) - 512

        await eventually(a_pack_is_stored, 60)
        service.kill()
        with pytest.raises(NnpmError):
            await sending
    service.start()
    async with open_channel(service.address) as channel:
        client = ArtifactClient(channel)
        missing = await client.missing(upload, pieces)
        assert len(missing) <= len(pieces) - 512
        assert await client.read(digest(before)) == before
        with pytest.raises(NotFound):
            await client.read(digest(data))
        await client.send(upload, missing)
        await client.commit(upload, data)
        assert await client.read(digest(data)) == data


@pytest.mark.parametrize("store_settings", ["local", "postgresql"], indirect=True)
async def test_killed_at_random_points_it_never_shows_half_a_file(
    artifact_process: Callable[..., ArtifactProcess], store_settings: dict[str, str]
) -> None:
    draw = random.Random(11)
    service = artifact_process(store_settings)
    committed: dict[bytes, bytes] = {}
    for turn in range(5):
        offered = {
            digest(data): data for data in (content(2 * MIB + index, seed=turn * 10 + index) for index in range(4))
        }
        async with open_channel(service.address) as channel:
            client = ArtifactClient(channel)
            publishing = [asyncio.ensure_future(_publish(client, data, committed)) for data in offered.values()]
            collecting = asyncio.ensure_future(client.collect())
            await asyncio.wait([*publishing, collecting], timeout=draw.uniform(0.02, 0.4))
            service.kill()
            for task in (*publishing, collecting):
                task.cancel()
            await asyncio.gather(*publishing, collecting, return_exceptions=True)
        service.start()
        async with open_channel(service.address) as channel:
            client = ArtifactClient(channel)
            await client.collect()
            for file_digest, data in (offered | committed).items():
                try:
                    assert await client.read(file_digest) == data
                except NotFound:
                    assert file_digest not in committed


async def _publish(client: ArtifactClient, data: bytes, committed: dict[bytes, bytes]) -> None:
    """As the registry has it done: referred to before the upload ends. What was answered must stay."""
    await client.put(data)
    await client.refer(f"acme/m@{digest(data).hex()[:8]}", data)
    committed[digest(data)] = data


async def test_a_publisher_that_breaks_off_five_times_sends_nothing_stored_twice_beyond_a_pack(
    client: ArtifactClient,
) -> None:
    data = content(120 * MIB)
    pieces = cut(data)
    draw = random.Random(5)
    sent = 0
    upload = await client.open_upload(request_id="publish-acme-big")

    async def counted(missing: list[bytes], until: int) -> AsyncIterator[pb.UploadChunksRequest]:
        nonlocal sent
        for message in upload_messages(upload, missing):
            size = sum(len(chunk.data) for chunk in message.chunks)
            if until < size:
                await asyncio.Event().wait()
            until -= size
            sent += size
            yield message

    for _ in range(5):
        missing = await client.missing(upload, pieces)
        cut_at = draw.randrange(4 * MIB, 30 * MIB)
        stream = asyncio.ensure_future(client.stub.UploadChunks(counted(missing, cut_at)))
        goal = sent + cut_at - 2 * MIB

        def all_sent(goal: int = goal) -> bool:
            return sent >= min(goal, len(data))

        await eventually(all_sent, 30)
        stream.cancel()
        with suppress(asyncio.CancelledError, NnpmError):
            await stream
        upload = await client.open_upload(request_id="publish-acme-big")
        await client.collect()
    missing = await client.missing(upload, pieces)
    await client.stub.UploadChunks(counted(missing, 1 << 60))
    await client.commit(upload, data)
    # beyond a pack, only what was still on its way when the stream was cut: it had not been stored
    assert sent <= len(data) + 32 * MIB + 5 * 8 * MIB
    assert await client.read(digest(data), 50 * MIB, 3 * MIB) == data[50 * MIB : 53 * MIB]


async def _slowly(upload: str, pieces: list[bytes]) -> AsyncIterator[pb.UploadChunksRequest]:
    for message in upload_messages(upload, pieces):
        yield message
        await asyncio.sleep(0)
    await asyncio.Event().wait()
