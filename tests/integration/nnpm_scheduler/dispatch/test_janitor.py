"""What the dead leave in Redis is cleared away, and nothing else."""

import asyncio

from nnpm.queue import entry
from nnpm.queue.keys import FIELD, GROUP, SCHEDULERS, requests_key
from nnpm.queue.schedulers import LiveScheduler, SchedulerListing
from support.front import Answer, Asked, Front, HandWorker, echo_request, running_front
from support.waiting import eventually

KEY = requests_key("acme-echo.1")


async def left_by_the_dead(front: Front, scheduler: str, *, body: bytes | None = None) -> bytes:
    """An entry that a worker without a Session has read."""
    if not await front.redis.exists(KEY):
        await front.redis.xgroup_create(KEY, GROUP, id="0", mkstream=True)
    sent = entry.Encoder().encode(entry.Entry(scheduler, "unix:/nowhere", ())) if body is None else body
    entry_id = await front.redis.xadd(KEY, {FIELD: sent})
    await front.redis.xreadgroup(GROUP, "dead", {KEY: ">"})
    return bytes(entry_id)


async def test_entries_of_a_scheduler_that_is_gone_are_cleared_with_their_dead_reader(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        await left_by_the_dead(front, "gone")
        await left_by_the_dead(front, "", body=b"\xff no entry")
        await eventually(front.at_rest)
        await eventually(front.only_the_living_are_consumers)


async def test_an_entry_that_was_deleted_while_its_reader_died_is_acknowledged(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        await front.redis.xdel(KEY, await left_by_the_dead(front, "gone"))
        await eventually(front.at_rest)


async def test_entries_of_another_living_scheduler_are_left_alone(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        await SchedulerListing(front.redis, LiveScheduler("other", "unix:/other")).enter()
        kept = await left_by_the_dead(front, "other")
        await left_by_the_dead(front, "gone")
        await eventually(lambda: _pending_is(front, [kept]))
        assert await front.entries() == 1


async def test_a_scheduler_that_died_is_taken_off_the_list_and_a_living_one_is_not(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        await front.redis.sadd(SCHEDULERS, "gone")
        await eventually(lambda: _list_is(front, {front.scheduler.encode()}))


async def test_what_a_living_worker_has_in_hand_is_left_alone(redis_url: str) -> None:
    release = asyncio.Event()

    async def slow(asked: Asked) -> Answer:
        await release.wait()
        return Answer(b"")

    async with running_front(redis_url) as front, HandWorker(front, slow) as worker:
        call = asyncio.create_task(front.infer(echo_request()))
        await eventually(lambda: worker.seen)
        cleared = await left_by_the_dead(front, "gone")
        await eventually(lambda: _is_gone(front, cleared))
        assert await front.pending() == 1
        release.set()
        await call


async def _pending_is(front: Front, ids: list[bytes]) -> bool:
    return [p["message_id"] for p in await front.redis.xpending_range(KEY, GROUP, "-", "+", 10)] == ids


async def _is_gone(front: Front, entry_id: bytes) -> bool:
    return not await front.redis.xrange(KEY, entry_id, entry_id)


async def _list_is(front: Front, members: set[bytes]) -> bool:
    return bool(await front.redis.smembers(SCHEDULERS) == members)
