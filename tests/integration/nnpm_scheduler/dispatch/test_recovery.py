"""What was in dead hands, or vanished from Redis, is answered all the same: once, and before its deadline."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import NnpmError
from nnpm.rpc.status import from_call
from support.front import (
    Answer,
    Asked,
    Front,
    HandWorker,
    echo,
    echo_request,
    never,
    revision,
    running_front,
    table,
)
from support.redis_server import RedisServer
from support.waiting import eventually

KILLER = 666.0
"""The first number in a request that a worker dies of."""


def all_sent(front: Front, calls: int) -> bool:
    return front.calls() == calls


async def answers_of(calls: list[asyncio.Task[bytes]]) -> list[str]:
    return [pb.ModelInferResponse.FromString(await call).id for call in calls]


async def test_requests_in_a_killed_workers_hands_are_answered_by_another(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front, never) as doomed:
        calls = [asyncio.create_task(front.infer(echo_request(id=str(n)))) for n in range(20)]
        await eventually(lambda: doomed.seen)
        async with HandWorker(front) as heir:
            await doomed.kill()
            assert await answers_of(calls) == [str(n) for n in range(20)]
            # What the dead one had read ran alone, marked as suspect.
            assert set(heir.suspects) >= {request.number for request in doomed.seen}
        await eventually(front.at_rest)


async def test_a_request_that_kills_two_workers_is_poison_and_its_neighbours_are_answered(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        deaths: list[HandWorker] = []

        async def handle(asked: Asked) -> Answer:
            if asked.first == KILLER:
                # The process dies: its Session breaks, nothing is answered.
                deaths.append(workers[-1])
                front.fleet.incarnations.discard(workers[-1].incarnation)
                front.dispatch.worker_lost()
                await asyncio.Event().wait()
            return await echo(asked)

        workers = [HandWorker(front, handle)]
        await workers[-1].__aenter__()
        killer = asyncio.create_task(front.infer(echo_request([KILLER, 0, 0])))
        neighbours = [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=20)) for n in range(5)]
        for _ in range(2):
            before = len(deaths)
            await eventually(lambda: len(deaths) > before)  # noqa: B023 - awaited at once
            await workers[-1].kill(silently=True)
            workers.append(HandWorker(front, handle))
            await workers[-1].__aenter__()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await killer
        error = from_call(refused.value)
        assert (error.code, error.reason) == ("INTERNAL", "POISON_REQUEST")
        assert await answers_of(neighbours) == [str(n) for n in range(5)]
        assert len(deaths) == 2
        await workers[-1].kill()
        await eventually(front.at_rest)


async def test_a_suspect_whose_worker_only_lost_its_connection_is_not_poison(redis_url: str) -> None:
    wake = asyncio.Event()

    async def slow(asked: Asked) -> Answer:
        await wake.wait()
        return await echo(asked)

    async with running_front(redis_url) as front, HandWorker(front, never) as doomed:
        call = asyncio.create_task(front.infer(echo_request(id="one"), timeout=20))
        await eventually(lambda: doomed.seen)
        async with HandWorker(front, slow) as cut_off:
            await doomed.kill()
            await eventually(lambda: cut_off.suspects)
            front.fleet.lost_just_now.add(cut_off.incarnation)
            front.fleet.incarnations.discard(cut_off.incarnation)
            front.dispatch.worker_lost()
            await eventually(lambda: not front.dispatch.audit_wanted.is_set())
            front.fleet.incarnations.add(cut_off.incarnation)
            wake.set()
            assert await answers_of([call]) == ["one"]
        await eventually(front.at_rest)


async def test_a_request_that_killed_two_workers_kills_no_third_when_redis_loses_its_entry(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front, never) as first:
        call = asyncio.create_task(front.infer(echo_request(), timeout=20))
        await eventually(lambda: first.seen)
        async with HandWorker(front, never) as second:
            await first.kill()
            await eventually(lambda: second.suspects)
            front.fleet.lost_just_now.add(second.incarnation)
            await second.kill()
        await front.redis.flushall()
        async with HandWorker(front) as third:
            front.dispatch.worker_lost()
            await eventually(lambda: not front.dispatch.audit_wanted.is_set())
            front.fleet.lost_just_now.clear()
            front.dispatch.worker_lost()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert from_call(refused.value).reason == "POISON_REQUEST"
            assert not third.seen
        await eventually(front.at_rest)


async def test_a_late_answer_of_a_worker_that_was_given_up_is_dropped(redis_url: str) -> None:
    wake = asyncio.Event()

    async def frozen(asked: Asked) -> Answer:
        await wake.wait()
        return await echo(asked)

    async with running_front(redis_url) as front, HandWorker(front, frozen) as sleeper:
        call = asyncio.create_task(front.infer(echo_request(id="one")))
        await eventually(lambda: sleeper.seen)
        front.fleet.incarnations.discard(sleeper.incarnation)
        front.dispatch.worker_lost()
        async with HandWorker(front):
            assert await answers_of([call]) == ["one"]
            wake.set()
            await eventually(lambda: sleeper.refused == 1)
        await eventually(front.at_rest)


async def test_entries_that_vanish_from_redis_are_written_again(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        calls = [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=20)) for n in range(8)]
        await eventually(front.entries)
        await front.redis.flushall()
        async with HandWorker(front) as worker:
            assert await answers_of(calls) == [str(n) for n in range(8)]
            assert not worker.suspects


async def test_an_entry_whose_consumer_was_deleted_is_written_again(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        async with HandWorker(front, never) as forgetful:
            call = asyncio.create_task(front.infer(echo_request(id="one"), timeout=20))
            await eventually(lambda: forgetful.seen)
            await front.redis.xgroup_delconsumer("nnpm:{acme-echo.1}:requests", "workers", forgetful.incarnation)
        async with HandWorker(front):
            assert await answers_of([call]) == ["one"]


async def test_calls_outlive_a_restart_of_redis_that_lost_everything(tmp_path: Path) -> None:
    forgetful = RedisServer(tmp_path)
    forgetful.start()
    try:
        async with running_front(forgetful.url) as front:
            calls = [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=30)) for n in range(8)]
            await eventually(front.entries)
            await asyncio.to_thread(forgetful.kill)
            await eventually(lambda: not front.stream.open)
            calls += [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=30)) for n in range(8, 12)]
            await eventually(lambda: all_sent(front, 12))
            await asyncio.to_thread(forgetful.start)
            async with HandWorker(front):
                assert await answers_of(calls) == [str(n) for n in range(12)]
                await eventually(front.at_rest)
    finally:
        forgetful.stop()


async def test_what_a_restarted_redis_kept_is_not_written_again(own_redis: RedisServer) -> None:
    async with running_front(own_redis.url) as front:
        calls = [asyncio.create_task(front.infer(echo_request(id=str(n)), timeout=30)) for n in range(8)]
        await eventually(lambda: all_sent(front, 8))
        await eventually(lambda: all(entry.id for entry in front.inflight.entries()))
        await asyncio.to_thread(own_redis.kill)
        await eventually(lambda: not front.stream.open)
        await asyncio.to_thread(own_redis.start)
        await eventually(lambda: front.stream.open)
        async with HandWorker(front) as worker:
            assert await answers_of(calls) == [str(n) for n in range(8)]
            await eventually(front.at_rest)
            assert len(worker.seen) == 8


async def test_without_redis_a_call_waits_as_long_as_it_may_and_then_is_told_why(own_redis: RedisServer) -> None:
    async with running_front(own_redis.url, default_timeout=1.0) as front:
        await eventually(lambda: front.stream.open)
        await asyncio.to_thread(own_redis.kill)
        await eventually(lambda: not front.stream.open)
        for timeout in (None, 1.0):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await front.infer(echo_request(), timeout=timeout)
            error = from_call(refused.value)
            assert (error.code, error.reason) == ("UNAVAILABLE", "QUEUE_UNAVAILABLE")
        await asyncio.to_thread(own_redis.start)
        await eventually(lambda: front.stream.open, 5.0)
        async with HandWorker(front):
            assert await answers_of([asyncio.create_task(front.infer(echo_request(id="back")))]) == ["back"]


async def test_a_redis_that_is_out_of_memory_makes_calls_wait_until_it_is_not(own_redis: RedisServer) -> None:
    async with running_front(own_redis.url) as front, HandWorker(front):
        await front.infer(echo_request())
        await front.redis.config_set("maxmemory", "1")
        call = asyncio.create_task(front.infer(echo_request(id="patient"), timeout=20))
        await eventually(lambda: not front.stream.open)
        assert not call.done()
        await front.redis.config_set("maxmemory", "0")
        assert await answers_of([call]) == ["patient"]


async def test_calls_of_a_retired_revision_fail_at_once_and_its_stream_is_cleared(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        call = asyncio.create_task(front.infer(echo_request(), timeout=20))
        await eventually(front.entries)
        front.routes.replace(table(revision(number=2, version="2.0.0")))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        error: NnpmError = from_call(refused.value)
        assert (error.code, error.reason) == ("UNAVAILABLE", "REVISION_RETIRED")
        await eventually(front.at_rest)


async def test_a_redis_that_hangs_counts_as_gone_until_it_answers(own_redis: RedisServer) -> None:
    async with running_front(own_redis.url) as front, HandWorker(front):
        await front.infer(echo_request())
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            call = asyncio.create_task(front.infer(echo_request(id="patient"), timeout=30))
            await eventually(lambda: not front.stream.open)
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert await answers_of([call]) == ["patient"]
        await eventually(front.at_rest)
