"""One connection to a real Redis, as a consumer of the group."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from nnpm.queue.connection import connect
from nnpm.queue.groups import leave_group, make_group
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm_worker.stream import REDIS_ERRORS, Ears, Received, RequestStream


class Heard:
    """What a stream told."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[list[Received]] = asyncio.Queue()
        self.acknowledged: asyncio.Queue[Sequence[bytes]] = asyncio.Queue()
        self.missing = asyncio.Event()
        self.lost: asyncio.Queue[Exception] = asyncio.Queue()
        self.ears = Ears(self.reads.put_nowait, self.acknowledged.put_nowait, self.missing.set, self.lost.put_nowait)

    async def read(self) -> list[Received]:
        async with asyncio.timeout(20):
            return await self.reads.get()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url)
    await make_group(redis, "a")
    yield redis
    await redis.aclose()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def stream(redis: Redis, heard: Heard) -> AsyncIterator[RequestStream]:
    connection = await RequestStream.open(redis, "a", "me", heard.ears)
    yield connection
    await connection.close()


async def add(redis: Redis, data: bytes) -> bytes:
    return bytes(await redis.xadd(requests_key("a"), {FIELD: data}))


async def test_a_read_takes_as_many_as_asked_for(redis: Redis, stream: RequestStream, heard: Heard) -> None:
    ids = [await add(redis, data) for data in (b"1", b"2", b"3")]
    stream.read(2)
    assert await heard.read() == [Received("a", ids[0], b"1"), Received("a", ids[1], b"2")]
    stream.read(2)
    assert await heard.read() == [Received("a", ids[2], b"3")]


async def test_a_read_waits_for_an_entry(redis: Redis, stream: RequestStream, heard: Heard) -> None:
    stream.read(5)
    assert stream.reading
    entry_id = await add(redis, b"1")
    assert await heard.read() == [Received("a", entry_id, b"1")]
    assert not stream.reading


async def test_a_read_with_nothing_to_give_ends(stream: RequestStream, heard: Heard) -> None:
    stream.read(5)
    assert await heard.read() == []


async def test_a_read_is_ended_from_another_connection(redis: Redis, stream: RequestStream, heard: Heard) -> None:
    stream.read(5)
    while stream.reading:
        await redis.client_unblock(stream.client_id)
        await asyncio.sleep(0)
    assert heard.reads.get_nowait() == []


async def test_what_is_acknowledged_is_deleted_and_not_pending(
    redis: Redis, stream: RequestStream, heard: Heard
) -> None:
    ids = [await add(redis, data) for data in (b"1", b"2", b"3")]
    stream.read(2)
    await heard.read()
    stream.read(1, ids[:1])
    await heard.read()
    stream.acknowledge(ids[1:])
    assert [await heard.acknowledged.get() for _ in range(2)] == [ids[:1], ids[1:]]
    assert await redis.xlen(requests_key("a")) == 0
    assert await stream.pending() == []


async def test_pending_entries_come_again_with_their_bodies_or_without(
    redis: Redis, stream: RequestStream, heard: Heard
) -> None:
    ids = [await add(redis, data) for data in (b"1", b"2")]
    stream.read(2)
    await heard.read()
    await redis.xdel(requests_key("a"), ids[0])
    assert await stream.pending() == [Received("a", ids[0], None), Received("a", ids[1], b"2")]


async def test_a_missing_group_is_told_and_what_was_written_is_read_once_it_is_made(
    redis: Redis, stream: RequestStream, heard: Heard
) -> None:
    await redis.delete(requests_key("a"))
    stream.read(1)
    async with asyncio.timeout(20):
        await heard.missing.wait()
    assert await stream.pending() == []
    await add(redis, b"2")
    await make_group(redis, "a")
    stream.read(1)
    assert [item.data for item in await heard.read()] == [b"2"], "from the first entry on"


async def test_a_group_is_left_only_with_nothing_pending(redis: Redis, stream: RequestStream, heard: Heard) -> None:
    entry_id = await add(redis, b"1")
    stream.read(1)
    await heard.read()
    await leave_group(redis, "a", "me")
    assert len(await stream.pending()) == 1
    stream.acknowledge([entry_id])
    await heard.acknowledged.get()
    await leave_group(redis, "a", "me")
    assert await redis.xinfo_consumers(requests_key("a"), GROUP) == []
    await leave_group(redis, "nothing", "me")


async def test_a_broken_connection_is_told(redis: Redis, stream: RequestStream, heard: Heard) -> None:
    stream.read(1)
    await redis.client_kill_filter(_id=str(stream.client_id))
    async with asyncio.timeout(20):
        assert isinstance(await heard.lost.get(), REDIS_ERRORS)


async def test_nobody_at_the_address_is_an_error(heard: Heard) -> None:
    nobody = connect("unix:///tmp/nnpm-nobody-listens-here.sock")
    with pytest.raises(REDIS_ERRORS):
        await RequestStream.open(nobody, "a", "me", heard.ears)
    await nobody.aclose()
