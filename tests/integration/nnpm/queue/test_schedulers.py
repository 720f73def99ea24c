"""The list of live schedulers, in a real Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from nnpm.queue.connection import connect
from nnpm.queue.keys import SCHEDULERS, scheduler_key
from nnpm.queue.schedulers import LISTED, LiveScheduler, SchedulerListing, forget_gone, live_schedulers
from support.waiting import eventually

ONE, TWO = LiveScheduler("aa", "unix:/one"), LiveScheduler("bb", "10.0.0.2:8104")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def test_schedulers_list_themselves_with_their_addresses(redis: Redis) -> None:
    assert await live_schedulers(redis) == []
    await SchedulerListing(redis, TWO).enter()
    await SchedulerListing(redis, ONE).refresh()
    assert await live_schedulers(redis) == [ONE, TWO]


async def test_a_scheduler_that_leaves_is_gone_at_once(redis: Redis) -> None:
    listing = SchedulerListing(redis, ONE)
    await listing.enter()
    await listing.leave()
    assert await live_schedulers(redis) == []
    assert await redis.scard(SCHEDULERS) == 0


async def test_a_scheduler_whose_lease_ran_out_is_gone_and_can_be_cleared_away(redis: Redis) -> None:
    await SchedulerListing(redis, ONE).enter()
    assert 0 < await redis.pttl(scheduler_key("aa")) <= LISTED * 1000
    await redis.pexpire(scheduler_key("aa"), 1)
    await eventually(lambda: _nobody_lives(redis))
    await SchedulerListing(redis, TWO).enter()
    await forget_gone(redis)
    assert await redis.smembers(SCHEDULERS) == {b"bb"}


async def _nobody_lives(redis: Redis) -> bool:
    return not await live_schedulers(redis)


async def test_a_refresh_prolongs_even_when_redis_is_out_of_memory(redis: Redis) -> None:
    listing = SchedulerListing(redis, ONE)
    await listing.enter()
    await redis.pexpire(scheduler_key("aa"), 1_000)
    await redis.config_set("maxmemory", "1")
    try:
        await listing.refresh()
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.pttl(scheduler_key("aa")) > 1_000


async def test_a_refresh_enters_anew_what_redis_has_lost(redis: Redis) -> None:
    listing = SchedulerListing(redis, ONE)
    await listing.enter()
    await redis.flushall()
    await listing.refresh()
    assert await live_schedulers(redis) == [ONE]
    await redis.srem(SCHEDULERS, "aa")
    await listing.refresh()
    assert await live_schedulers(redis) == [ONE]
