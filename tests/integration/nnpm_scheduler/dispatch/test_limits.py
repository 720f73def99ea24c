"""Deadlines, cancellation, bounds, claims, the window: what keeps the scheduler and Redis small."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import NnpmError, Unavailable
from nnpm.rpc.status import from_call
from nnpm.settings import ServiceSettings
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.dispatch.held import Bounds
from nnpm_scheduler.dispatch.window import MOST_IN_ENTRY, OPEN_PER_REPLICA
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
from support.waiting import eventually


async def failure(front: Front, body: bytes, timeout: float | None = 10.0) -> NnpmError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.infer(body, timeout=timeout)
    return from_call(refused.value)


async def test_an_unanswered_call_ends_at_its_deadline_and_leaves_redis(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        begun = time.monotonic()
        error = await failure(front, echo_request(), timeout=0.5)
        assert error.code == "DEADLINE_EXCEEDED"
        assert 0.4 < time.monotonic() - begun < 20  # it asked for 0.5 s; the default would be 60
        await eventually(front.at_rest)


async def test_a_call_without_a_deadline_gets_the_servers_default(redis_url: str) -> None:
    async with running_front(redis_url, default_timeout=0.5) as front:
        error = await failure(front, echo_request(), timeout=None)
        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert error.message == "the call's deadline passed before its answer"


async def test_a_deadline_travels_to_the_worker(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front) as worker:
        await front.infer(echo_request(), timeout=5)
        left = worker.seen[0].deadline_ns - worker.seen[0].admitted_ns
        assert 4e9 < left <= 5.1e9


async def test_a_call_that_arrives_all_but_expired_ends_at_its_deadline(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front, never):
        assert (await failure(front, echo_request(), timeout=0.000001)).code == "DEADLINE_EXCEEDED"
        await eventually(front.is_balanced)


async def test_a_cancelled_call_leaves_the_table_and_redis(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        call = asyncio.create_task(front.infer(echo_request(), timeout=30))
        await eventually(front.entries)
        call.cancel()
        await eventually(front.at_rest)


async def test_workers_are_told_of_a_cancelled_call_that_one_has_in_hand(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front, never) as worker:
        call = asyncio.create_task(front.infer(echo_request(), timeout=30))
        await eventually(lambda: worker.seen)
        call.cancel()
        await eventually(lambda: front.fleet.cancelled == [worker.seen[0].number])


async def test_memory_is_bounded_and_the_refusal_says_when_to_retry(redis_url: str) -> None:
    size = len(echo_request())
    bounds = Bounds(total_bytes=5 * size // 2, source_bytes=5 * size // 2, calls=100)
    async with running_front(redis_url, bounds=bounds) as front:
        calls = [asyncio.create_task(front.infer(echo_request())) for _ in range(2)]
        await eventually(lambda: front.calls() == 2)
        error = await failure(front, echo_request())
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MUCH_IN_FLIGHT")
        assert error.retry_after
        async with HandWorker(front):
            await asyncio.gather(*calls)
            await front.infer(echo_request())


async def test_one_connection_cannot_take_all_the_memory(redis_url: str) -> None:
    size = len(echo_request())
    bounds = Bounds(total_bytes=100 * size, source_bytes=5 * size // 2, calls=100)
    async with running_front(redis_url, bounds=bounds) as front, front.channel() as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        greedy = [asyncio.ensure_future(infer(echo_request(), timeout=10)) for _ in range(2)]
        await eventually(lambda: front.calls() == 2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await infer(echo_request(), timeout=10)
        assert from_call(refused.value).reason == "TOO_MUCH_IN_FLIGHT"
        other = asyncio.create_task(front.infer(echo_request()))
        await eventually(lambda: front.calls() == 3)
        async with HandWorker(front):
            await asyncio.gather(*greedy, other)


async def test_a_large_body_stays_in_the_scheduler_and_is_redeemed(redis_url: str) -> None:
    async with running_front(redis_url, claim_above=1_000) as front, HandWorker(front) as worker:
        body = echo_request(*([n, n, n] for n in range(1_000)))
        answer = pb.ModelInferResponse.FromString(await front.infer(body))
        assert answer.raw_output_contents[0] == pb.ModelInferRequest.FromString(body).raw_input_contents[0]
        assert worker.entries[0].blocks[0].raw == ()
        assert worker.seen[0].claimed == len(answer.raw_output_contents[0])


async def test_a_large_body_that_has_to_be_parsed_is_redeemed_whole(redis_url: str) -> None:
    texts = Signature((TensorSpec("x", "BYTES", (-1,)),), (TensorSpec("y", "BYTES", (-1,)),))
    request = pb.ModelInferRequest(model_name="acme-echo", id="long")
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append((5_000).to_bytes(4, "little") + bytes(5_000))
    body = request.SerializeToString()
    async with running_front(redis_url, claim_above=1_000) as front, HandWorker(front) as worker:
        front.routes.replace(table(replace(revision(), signature=texts)))
        answer = pb.ModelInferResponse.FromString(await front.infer(body))
        assert (answer.id, answer.raw_output_contents) == ("long", request.raw_input_contents)
        assert (worker.seen[0].layout, worker.seen[0].claimed, worker.seen[0].body) == (None, len(body), body)


async def test_a_claim_cannot_be_redeemed_without_its_nonce_or_after_the_answer(redis_url: str) -> None:
    async with running_front(redis_url, claim_above=1) as front, HandWorker(front) as worker:
        seen: list[NnpmError] = []

        async def handle(asked: Asked) -> Answer:
            with pytest.raises(NnpmError) as refused:
                await front.redeem(asked.number, asked.nonce ^ 1)
            seen.append(refused.value)
            return await echo(asked)

        worker.handle = handle
        await front.infer(echo_request())
        with pytest.raises(NnpmError) as refused:
            await front.redeem(worker.seen[0].number, worker.seen[0].nonce)
        assert [error.reason for error in (*seen, refused.value)] == ["CLAIM_NOT_FOUND"] * 2


async def test_redis_holds_a_bounded_window_and_the_rest_waits_in_memory(redis_url: str) -> None:
    waiting = 3 * OPEN_PER_REPLICA
    async with running_front(redis_url) as front:
        front.routes.replace(table(revision(batch=OPEN_PER_REPLICA // 2)))
        async with front.channel() as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            calls = [asyncio.ensure_future(infer(echo_request(id=str(n)), timeout=30)) for n in range(waiting)]
            await eventually(lambda: front.calls() == waiting)
            await eventually(front.entries)
            in_redis = sum(flight.live for entry in front.inflight.entries() for flight in entry.flights)
            assert OPEN_PER_REPLICA <= in_redis < OPEN_PER_REPLICA + MOST_IN_ENTRY
            async with HandWorker(front):
                answers = [pb.ModelInferResponse.FromString(await call).id for call in calls]
        assert answers == [str(n) for n in range(waiting)]


async def test_an_entry_carries_one_request_where_joining_is_not_proven(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        front.routes.replace(table(revision(batch=1)))
        calls = [asyncio.create_task(front.infer(echo_request())) for _ in range(5)]
        await eventually(lambda: front.calls() == 5)
        await eventually(front.entries)
        assert {sum(flight.live for flight in entry.flights) for entry in front.inflight.entries()} == {1}
        async with HandWorker(front):
            await asyncio.gather(*calls)


async def test_a_message_over_the_limit_is_refused_clearly(redis_url: str) -> None:
    settings = ServiceSettings(max_message_bytes=1024 * 1024)
    async with running_front(redis_url, settings=settings) as front:
        error = await failure(front, echo_request() + bytes(2 * 1024 * 1024))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


async def test_a_request_that_a_stopping_worker_hands_back_is_run_by_another(redis_url: str) -> None:
    async def hand_back(asked: Asked) -> NnpmError:
        return Unavailable("NOT_BEGUN", "not begun")

    async with running_front(redis_url) as front:
        async with HandWorker(front, hand_back) as leaving:
            call = asyncio.create_task(front.infer(echo_request(id="one")))
            await eventually(lambda: leaving.seen)
        async with HandWorker(front):
            assert pb.ModelInferResponse.FromString(await call).id == "one"
        await eventually(front.at_rest)


async def test_draining_answers_what_is_in_flight_and_refuses_what_comes(redis_url: str) -> None:
    release = asyncio.Event()

    async def slow(asked: Asked) -> Answer:
        await release.wait()
        return await echo(asked)

    async with running_front(redis_url) as front, HandWorker(front, slow) as worker:
        call = asyncio.create_task(front.infer(echo_request(id="last")))
        await eventually(lambda: worker.seen)
        draining = asyncio.create_task(front.dispatch.drain(10))
        assert (await failure(front, echo_request())).reason == "SERVER_STOPPING"
        release.set()
        assert pb.ModelInferResponse.FromString(await call).id == "last"
        async with asyncio.timeout(2):
            await draining


async def test_a_drain_that_takes_too_long_fails_what_is_left(redis_url: str) -> None:
    async with running_front(redis_url) as front:
        call = asyncio.create_task(failure(front, echo_request()))
        await eventually(lambda: front.calls() == 1)
        await front.dispatch.drain(0.1)
        assert (await call).reason == "SERVER_STOPPING"
