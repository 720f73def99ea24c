"""What Redis keeps through its own death, by how it was told to write, and that no call depends on it."""

import asyncio
from pathlib import Path

import pytest

from nnpm.api.inference import inference_pb2 as pb
from support.front import Front, HandWorker, echo_request, running_front
from support.redis_server import RedisServer
from support.waiting import eventually

CALLS = 8


async def in_redis(front: Front) -> list[asyncio.Task[bytes]]:
    """Calls whose entries are all in Redis."""
    calls = [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=30)) for n in range(CALLS)]
    await eventually(lambda: front.calls() == CALLS)
    await eventually(lambda: all(entry.id for entry in front.inflight.entries()))
    return calls


async def answered(calls: list[asyncio.Task[bytes]]) -> list[str]:
    return [pb.ModelInferResponse.FromString(await call).id for call in calls]


async def killed_and_back(front: Front, redis: RedisServer, lost_bytes: int = 0) -> None:
    """kill -9, and a new start: without the last bytes of the file, as after a power cut."""
    await asyncio.to_thread(redis.kill)
    await eventually(lambda: not front.stream.open)
    if lost_bytes:
        redis.lose(lost_bytes)
    await asyncio.to_thread(redis.start)
    await eventually(lambda: front.stream.open)


@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
async def test_a_killed_redis_keeps_every_entry_whatever_appendfsync_is(tmp_path: Path, fsync: str) -> None:
    redis = RedisServer(tmp_path, persistent=True, options=("--appendfsync", fsync))
    try:
        async with running_front(redis.start().url) as front:
            calls = await in_redis(front)
            await killed_and_back(front, redis)
            async with HandWorker(front) as worker:
                assert await answered(calls) == [str(n) for n in range(CALLS)]
                assert len(worker.seen) == CALLS  # nothing was written again
                await eventually(front.at_rest)
    finally:
        redis.stop()


async def test_calls_whose_entries_were_in_a_lost_tail_are_answered_all_the_same(own_redis: RedisServer) -> None:
    async with running_front(own_redis.url) as front:
        calls = await in_redis(front)
        written = {entry.id for entry in front.inflight.entries()}
        await killed_and_back(front, own_redis, lost_bytes=200)
        # Some were lost, and are written again.
        await eventually(lambda: {entry.id for entry in front.inflight.entries() if entry.id} - written)
        async with HandWorker(front):
            assert await answered(calls) == [str(n) for n in range(CALLS)]
            await eventually(front.at_rest)
