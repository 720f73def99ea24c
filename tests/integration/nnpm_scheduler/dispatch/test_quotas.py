"""Quotas hold for all schedulers together, on every transport, and without Redis as they are set to."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from redis.asyncio import Redis

from nnpm.queue.connection import connect
from nnpm.rpc.status import from_call
from nnpm_scheduler.dispatch.ledger import Ledger
from nnpm_scheduler.dispatch.quotas import ANY, Quota, Quotas
from support.front import Front, HandWorker, echo_request, revision, running_front, table
from support.redis_server import RedisServer
from support.waiting import eventually


@asynccontextmanager
async def scheduler(redis: Redis, name: str, tenants: dict[str, Quota]) -> AsyncIterator[Quotas]:
    """The quotas of one scheduler."""
    quotas = Quotas(tenants)
    running = asyncio.create_task(Ledger(redis, name, quotas).run())
    try:
        yield quotas
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def outcome(front: Front, timeout: float = 30.0, **metadata: str) -> str:
    """The reason that a call failed with, empty when it did not."""
    pairs = [(f"nnpm-{key}", value) for key, value in metadata.items()]
    try:
        await front.infer(echo_request(), timeout=timeout, metadata=pairs)
    except grpc.aio.AioRpcError as error:
        return from_call(error).reason
    return ""


async def test_three_schedulers_together_let_in_what_the_rate_allows(redis_url: str) -> None:
    redis, tenants = connect(redis_url), {"a": Quota(rate=50)}
    async with AsyncExitStack() as running:
        all_three = [await running.enter_async_context(scheduler(redis, name, tenants)) for name in "123"]
        begun, granted = time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < 4.0:
            granted += sum(quotas.grant(quotas.of("a", "", ANY), 1) for quotas in all_three)
            await asyncio.sleep(0.002)
        # The bucket, what flowed in since, and what each scheduler may let in before it hears of the others.
        assert 50 * (elapsed - 1) <= granted <= 50 + 50 * elapsed + 3 * 50
        await eventually(lambda: not any(quotas.accounts["tenant:a"].used for quotas in all_three))
    await redis.aclose()


async def test_what_others_have_in_flight_counts_and_a_dead_scheduler_counts_for_a_lease(redis_url: str) -> None:
    redis, tenants = connect(redis_url), {"a": Quota(in_flight=4)}
    async with scheduler(redis, "2", tenants) as two:
        async with scheduler(redis, "1", tenants) as one:
            assert one.grant(one.of("a", "", ANY), 3) == 3
            await eventually(lambda: not one.accounts["tenant:a"].used)
            mine = two.of("a", "", ANY)
            assert two.grant(mine, 1) == 1
            await eventually(lambda: mine[0].others == 3)
            assert two.grant(mine, 1) == 0
        await eventually(lambda: mine[0].others == 0)  # it was killed; nothing was given back
        assert two.grant(mine, 5) == 3
    await redis.aclose()


async def test_who_gets_a_rate_owes_nothing_for_what_came_before(redis_url: str) -> None:
    redis = connect(redis_url)
    async with scheduler(redis, "1", {}) as quotas:
        before = quotas.of("", "d", Quota(in_flight=500))
        for _ in range(20):
            assert quotas.grant(before, 500) == 500
            quotas.landed(before, 500)
        await eventually(lambda: not before[0].used)
        after = quotas.of("", "d", Quota(rate=100))
        assert quotas.grant(after, 1) == 1
        await eventually(lambda: not after[0].used)
        await eventually(lambda: after[0].room(time.monotonic()) > 0)
    await redis.aclose()


async def test_a_tenant_beyond_its_quota_is_told_so_and_others_are_not(redis_url: str) -> None:
    quotas = Quotas({"greedy": Quota(in_flight=2)})
    async with running_front(redis_url, quotas=quotas) as front:
        held = [asyncio.create_task(outcome(front, tenant="greedy")) for _ in range(2)]
        await eventually(lambda: front.calls() == 2)
        assert await outcome(front, tenant="greedy") == "QUOTA_EXCEEDED"
        assert await outcome(front, timeout=0.3, tenant="modest") == "DEADLINE_EXCEEDED"
        for call in held:
            call.cancel()
        await eventually(lambda: not quotas.accounts["tenant:greedy"].in_flight)
        await eventually(front.at_rest)


async def test_a_deployment_beyond_its_quota_refuses_whoever_calls(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front):
        front.routes.replace(table(revision(quota=Quota(rate=5))))
        found = Counter(await asyncio.gather(*[outcome(front, tenant=str(number)) for number in range(20)]))
        assert 5 <= found[""] <= 15
        assert found["QUOTA_EXCEEDED"] == 20 - found[""]
        await eventually(front.at_rest)


async def test_closed_quotas_refuse_while_redis_is_away_and_open_ones_do_not(own_redis: RedisServer) -> None:
    closed, open_ = Quotas({"a": Quota(rate=100)}, closed=True), Quotas({"a": Quota(rate=100)})
    async with running_front(own_redis.url, quotas=closed) as front, HandWorker(front):
        assert await outcome(front, tenant="a") == ""
        own_redis.kill()
        await eventually(lambda: not front.stream.open)
        await outcome(front, timeout=0.2, tenant="a")
        await eventually(lambda: closed.lost)
        assert await outcome(front, tenant="a") == "QUOTA_UNKNOWN"
        own_redis.start()
        await eventually(lambda: not closed.lost)
        assert await outcome(front, tenant="a") == ""
    assert open_.grant(open_.of("a", "", ANY), 1) == 1
