"""Which Redis is trusted, and what its connections do when it is not there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.queue.connection import check_redis, connect, wait_for_redis
from nnpm.queue.pipeline import PipelineConnection
from support.redis_server import RedisServer


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def test_a_fit_redis_is_trusted(redis: Redis) -> None:
    await check_redis(redis)


async def test_a_redis_that_evicts_is_refused(redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(FailedPrecondition) as refused:
            await check_redis(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    assert (refused.value.reason, refused.value.metadata["policy"]) == ("REDIS_EVICTS", "allkeys-lru")


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1/0"])
async def test_a_redis_that_is_not_there_is_unreachable(url: str) -> None:
    redis = connect(url)
    with pytest.raises(Unavailable) as refused:
        await check_redis(redis)
    assert refused.value.reason == "REDIS_UNREACHABLE"
    with pytest.raises((RedisError, OSError)):
        await PipelineConnection.open(redis, 1.0)
    await redis.aclose()


async def test_a_pipeline_answers_in_order_and_returns_errors_in_their_places(redis: Redis) -> None:
    connection = await PipelineConnection.open(redis, 1.0)
    answers = await connection.execute([("SET", "k", b"\x00\xff"), ("XADD", "k", "*", "e", "v"), ("GET", "k")], 1.0)
    assert (answers[0], answers[2]) == (b"OK", b"\x00\xff")
    assert isinstance(answers[1], ResponseError)
    await connection.close()


async def test_a_pipeline_whose_redis_dies_raises_and_a_new_one_serves(own_redis: RedisServer) -> None:
    redis = connect(own_redis.url)
    connection = await PipelineConnection.open(redis, 1.0)
    await asyncio.to_thread(own_redis.kill)
    with pytest.raises((RedisError, OSError)):
        await connection.execute([("PING",)], 1.0)
    await connection.close()
    await asyncio.to_thread(own_redis.start)
    again = await PipelineConnection.open(redis, 1.0)
    assert await again.execute([("PING",)], 1.0) == [b"PONG"]
    await again.close()
    await redis.aclose()


async def test_a_pipeline_whose_redis_is_late_raises_and_gives_no_answer_of_its_own_making(redis: Redis) -> None:
    """redis-py's own timeout answers None, and the next command then gets the late answer: a worker died of that."""
    connection = await PipelineConnection.open(redis, 1.0)
    with pytest.raises(TimeoutError):
        await connection.execute([("BLPOP", "nothing", "1"), ("XLEN", "stream")], 0.1)
    await connection.close()


async def test_a_cancelled_command_stays_cancelled(redis: Redis) -> None:
    """redis-py bounds writes with wait_for, which before Python 3.12 may swallow a cancellation."""

    async def forever() -> None:
        while True:
            await redis.ping()

    for _ in range(300):
        task = asyncio.create_task(forever())
        await asyncio.sleep(0.001)
        task.cancel()
        _, pending = await asyncio.wait([task], timeout=2)
        assert not pending


def test_passwords_and_databases_come_from_the_url(tmp_path: Path) -> None:
    redis = connect("redis://user:secret@example.invalid:7000/3")
    told = redis.connection_pool.connection_kwargs
    assert (told["host"], told["port"], told["db"], told["username"], told["password"]) == (
        "example.invalid",
        7000,
        3,
        "user",
        "secret",
    )
    assert connect(f"unix://{tmp_path}/r.sock").connection_pool.connection_kwargs["path"] == f"{tmp_path}/r.sock"


async def test_a_redis_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    redis = connect(server.url)
    try:
        waiting = asyncio.create_task(wait_for_redis(redis, asyncio.Event()))
        done, _ = await asyncio.wait((waiting,), timeout=0.5)
        assert not done
        server.start()
        async with asyncio.timeout(20):
            assert await waiting
    finally:
        await redis.aclose()
        server.stop()


async def test_waiting_for_redis_ends_when_the_service_stops() -> None:
    redis, stop = connect("unix:///nowhere/redis.sock"), asyncio.Event()
    waiting = asyncio.create_task(wait_for_redis(redis, stop))
    stop.set()
    async with asyncio.timeout(5):
        assert not await waiting
    await redis.aclose()
