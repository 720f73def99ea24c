"""A pipeline's answers come in order, each to whom it belongs, whatever is between them and whatever breaks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.queue.connection import connect
from nnpm.queue.pipeline import PipelineConnection
from support.redis_server import RedisServer
from support.waiting import eventually


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def test_batches_that_are_sent_at_once_are_answered_in_order_errors_in_their_places(redis: Redis) -> None:
    connection = await PipelineConnection.open(redis)
    found: list[list[object]] = []
    for n in range(500):
        connection.send([("SET", "k", n), ("LPUSH", "k", "x"), ("GET", "k")][: n % 3 + 1], found.append)
    await eventually(lambda: len(found) == 500)
    for n, answers in enumerate(found):
        assert len(answers) == n % 3 + 1
        assert answers[0] == b"OK"
        assert all(isinstance(answer, ResponseError) for answer in answers[1:2])
        assert answers[2:] == [b"%d" % n] * (n % 3 == 2)
    await connection.close()


async def test_large_values_pass_both_ways(redis: Redis) -> None:
    connection = await PipelineConnection.open(redis)
    value = bytes(range(256)) * (64 << 10)
    assert await connection.execute([("SET", "k", value), ("GET", "k"), ("PING",)], 30.0) == [b"OK", value, b"PONG"]
    await connection.close()


async def test_who_waits_is_told_once_when_redis_dies_and_so_is_the_owner(own_redis: RedisServer) -> None:
    redis = connect(own_redis.url)
    answered: list[object] = []
    failed: list[Exception] = []
    lost: list[Exception] = []
    connection = await PipelineConnection.open(redis, lost=lost.append)
    for _ in range(3):
        connection.send([("BLPOP", "nothing", 30)], answered.append, failed.append)
    await asyncio.to_thread(own_redis.kill)
    await eventually(lambda: lost)
    assert (connection.broken, len(failed), len(lost), answered) == (True, 3, 1, [])
    assert all(isinstance(error, RedisError) for error in failed)
    connection.send([("PING",)], answered.append, failed.append)
    connection.send([("PING",)], answered.append)
    assert (len(failed), answered) == (4, [])
    await connection.close()
    await connection.close()
    assert len(lost) == 1
    await redis.aclose()


async def test_closing_tells_who_waits_but_not_the_owner(redis: Redis) -> None:
    failed: list[Exception] = []
    lost: list[Exception] = []
    connection = await PipelineConnection.open(redis, lost=lost.append)
    connection.send([("BLPOP", "nothing", 30)], lambda _answers: None, failed.append)
    await connection.close()
    assert (len(failed), lost, connection.broken) == (1, [], True)


async def test_an_answer_that_comes_after_its_waiter_gave_up_is_nobody_elses(redis: Redis) -> None:
    connection = await PipelineConnection.open(redis)
    with pytest.raises(TimeoutError):
        await connection.execute([("BLPOP", "nothing", "0.3")], 0.05)
    assert await connection.execute([("ECHO", "mine")], 5.0) == [b"mine"]
    await connection.close()


async def test_a_callback_may_send_the_next_batch(redis: Redis) -> None:
    connection = await PipelineConnection.open(redis)
    counted: list[int] = []

    def again(answers: list[int]) -> None:
        counted.append(answers[0])
        if len(counted) < 50:
            connection.send([("INCR", "n")], again)

    connection.send([("INCR", "n")], again)
    await eventually(lambda: len(counted) == 50)
    assert counted == list(range(1, 51))
    await connection.close()


async def test_it_logs_in_and_selects_the_database_as_the_url_says(own_redis: RedisServer) -> None:
    admin = connect(own_redis.url)
    await admin.execute_command("ACL", "SETUSER", "mesh", "on", ">secret", "~*", "&*", "+@all")
    path = admin.connection_pool.connection_kwargs["path"]
    client = Redis(unix_socket_path=path, username="mesh", password="secret", db=3)
    connection = await PipelineConnection.open(client)
    assert await connection.execute([("ACL", "WHOAMI"), ("SET", "here", "1")], 5.0) == [b"mesh", b"OK"]
    assert await client.get("here") == b"1"
    assert await admin.get("here") is None
    wrong = Redis(unix_socket_path=path, username="mesh", password="wrong")
    with pytest.raises(RedisError):
        await PipelineConnection.open(wrong)
    await connection.close()
    for each in (admin, client, wrong):
        await each.aclose()
