"""One connection to a real Redis, as a consumer of the group."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from nnpm.queue.connection import connect
from nnpm.queue.groups import leave_group, make_group
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm_worker.stream import REDIS_ERRORS, Received, StreamConnection


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url)
    for revision in ("a", "b"):
        await make_group(redis, revision)
    yield redis
    await redis.aclose()


@pytest.fixture
async def stream(redis: Redis) -> AsyncIterator[StreamConnection]:
    connection = await StreamConnection.open(redis, "me")
    yield connection
    await connection.close()


async def add(redis: Redis, revision: str, data: bytes) -> bytes:
    return bytes(await redis.xadd(requests_key(revision), {FIELD: data}))


async def test_a_read_takes_as_many_as_asked_for_from_each_stream(redis: Redis, stream: StreamConnection) -> None:
    ids = [await add(redis, "a", b"1"), await add(redis, "a", b"2"), await add(redis, "b", b"3")]
    assert await stream.exchange({}, {"a": 1, "b": 5}) == (
        [Received("a", ids[0], b"1"), Received("b", ids[2], b"3")],
        [],
    )
    assert await stream.exchange({}, {"a": 5, "b": 5}) == ([Received("a", ids[1], b"2")], [])
    assert await stream.exchange({}, {"a": 5}) == ([], [])


async def test_an_acknowledged_entry_is_deleted_and_not_pending(redis: Redis, stream: StreamConnection) -> None:
    entry_id = await add(redis, "a", b"1")
    await stream.exchange({}, {"a": 1})
    await stream.exchange({"a": [entry_id]}, {})
    assert await redis.xlen(requests_key("a")) == 0
    assert await stream.pending("a") == []


async def test_pending_entries_come_again_with_their_bodies_or_without(redis: Redis, stream: StreamConnection) -> None:
    ids = [await add(redis, "a", data) for data in (b"1", b"2")]
    await stream.exchange({}, {"a": 2})
    await redis.xdel(requests_key("a"), ids[0])
    assert await stream.pending("a") == [Received("a", ids[0], None), Received("a", ids[1], b"2")]


async def test_a_wait_ends_with_one_entry_of_any_stream(redis: Redis, stream: StreamConnection) -> None:
    waiting = asyncio.create_task(stream.wait(["a", "b"], 10))
    entry_id = await add(redis, "b", b"1")
    assert await waiting == ([Received("b", entry_id, b"1")], [])
    assert await stream.wait(["a", "b"], 0.01) == ([], [])


async def test_missing_groups_are_named_and_harm_no_other_stream(redis: Redis, stream: StreamConnection) -> None:
    entry_id = await add(redis, "a", b"1")
    await redis.delete(requests_key("b"))
    assert await stream.exchange({}, {"b": 1, "a": 1}) == ([Received("a", entry_id, b"1")], ["b"])
    assert await stream.wait(["a", "b"], 0.01) == ([], ["a", "b"])
    await add(redis, "b", b"2")
    await make_group(redis, "b")
    assert [item.data for item in (await stream.exchange({}, {"b": 1}))[0]] == [b"2"], "from the first entry on"


async def test_a_group_is_left_only_with_nothing_pending(redis: Redis, stream: StreamConnection) -> None:
    entry_id = await add(redis, "a", b"1")
    await stream.exchange({}, {"a": 1})
    await leave_group(redis, "a", "me")
    assert len(await stream.pending("a")) == 1
    await stream.exchange({"a": [entry_id]}, {})
    await leave_group(redis, "a", "me")
    assert await redis.xinfo_consumers(requests_key("a"), GROUP) == []
    await leave_group(redis, "nothing", "me")


async def test_a_broken_connection_is_an_error(redis: Redis, stream: StreamConnection) -> None:
    await redis.client_kill_filter(_id=str(stream.client_id))
    with pytest.raises(REDIS_ERRORS):
        await stream.exchange({}, {"a": 1})


async def test_nobody_at_the_address_is_an_error() -> None:
    nobody = connect("unix:///tmp/nnpm-nobody-listens-here.sock")
    with pytest.raises(REDIS_ERRORS):
        await StreamConnection.open(nobody, "me")
    await nobody.aclose()
