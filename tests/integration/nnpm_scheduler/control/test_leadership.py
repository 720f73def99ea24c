"""One leader at a time, by a lease in a real Redis; its token only grows."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from nnpm.queue.connection import connect
from nnpm.queue.keys import LEADER
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.leadership import LEASE, Leadership
from support.waiting import eventually


class Remembered:
    """The store's part."""

    def __init__(self) -> None:
        self.token = 0

    async def fencing_token(self) -> int:
        return self.token

    async def record_fencing_token(self, token: int) -> None:
        self.token = max(self.token, token)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url)
    yield redis
    await redis.aclose()


@pytest.fixture
def tokens() -> Remembered:
    return Remembered()


def candidate(redis: Redis, name: str, tokens: Remembered) -> Leadership:
    return Leadership(redis, name, tokens, Changes())


async def test_one_of_many_leads(redis: Redis, tokens: Remembered) -> None:
    candidates = [candidate(redis, f"s{number}", tokens) for number in range(5)]
    await asyncio.gather(*(each.step() for each in candidates))
    assert [each.token for each in candidates if each.token] == [1]


async def test_a_leader_that_resigns_is_followed_at_once_by_a_greater_token(redis: Redis, tokens: Remembered) -> None:
    first, second = candidate(redis, "first", tokens), candidate(redis, "second", tokens)
    await first.step()
    await first.resign()
    assert first.token is None
    await second.step()
    assert second.token == 2


async def test_a_leader_that_stops_renewing_believes_so_before_another_leads(redis: Redis, tokens: Remembered) -> None:
    first, second = candidate(redis, "first", tokens), candidate(redis, "second", tokens)
    await first.step()
    async with asyncio.timeout(2 * LEASE):
        while second.token is None:
            await second.step()
            assert first.token is None or second.token is None
            await asyncio.sleep(0.02)
    assert second.token == 2


async def test_renewing_keeps_the_lead_and_the_token(redis: Redis, tokens: Remembered) -> None:
    first, second = candidate(redis, "first", tokens), candidate(redis, "second", tokens)
    await first.step()
    before = await redis.pttl(LEADER)
    await eventually(lambda: _shrunk(redis, before))
    await first.step()
    assert await redis.pttl(LEADER) >= before - 50
    await second.step()
    assert (first.token, second.token) == (1, None)


async def test_a_redis_that_forgot_everything_gives_no_smaller_token(redis: Redis, tokens: Remembered) -> None:
    first, second = candidate(redis, "first", tokens), candidate(redis, "second", tokens)
    for _ in range(3):
        await first.step()
        await first.resign()
    await redis.flushall()
    await second.step()
    assert second.token == 4


async def test_a_leader_learns_that_its_lease_was_taken(redis: Redis, tokens: Remembered) -> None:
    first, second = candidate(redis, "first", tokens), candidate(redis, "second", tokens)
    await first.step()
    await redis.delete(LEADER)
    await second.step()
    await first.step()
    assert first.token is None
    assert second.token == 2


async def _shrunk(redis: Redis, before: int) -> bool:
    return bool(await redis.pttl(LEADER) < before - 100)
