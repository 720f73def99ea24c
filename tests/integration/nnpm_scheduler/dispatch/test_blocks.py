"""Calls that arrive together travel together, and each is still a call of its own."""

import asyncio

import grpc
import numpy as np

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import InvalidArgument
from nnpm.rpc.status import from_call
from nnpm_scheduler.dispatch.inflight import Flight
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, never, running_front
from support.waiting import eventually

INFER = "/inference.GRPCInferenceService/ModelInfer"


def infer_all(channel: grpc.aio.Channel, bodies: list[bytes], timeout: float = 20.0) -> list["asyncio.Future[bytes]"]:
    """Sent at once, over one connection."""
    infer = channel.unary_unary(INFER)
    return [asyncio.ensure_future(infer(body, timeout=timeout)) for body in bodies]


async def with_a_block(front: Front, channel: grpc.aio.Channel) -> tuple[list["asyncio.Future[bytes]"], Flight]:
    """Calls that all wait in Redis, each with its place as id and first number; and a block of at least three of them.

    How many share a turn is the event loop's choice.
    """
    bodies = [echo_request([n, 0, 0], id=str(n)) for n in range(60)]
    for _ in range(20):
        calls = infer_all(channel, bodies)
        await eventually(lambda: front.calls() == len(bodies))
        await eventually(lambda: all(entry.id for entry in front.inflight.entries()))
        blocks = [flight for entry in front.inflight.entries() for flight in entry.flights if flight.count > 2]
        if blocks:
            return calls, blocks[0]
        for call in calls:
            call.cancel()
        await eventually(front.at_rest)
    raise AssertionError("three calls never shared a turn")


def second_of(block: Flight) -> int:
    """The place of the block's second call."""
    return int(np.frombuffer(block.calls.raw()[0], np.float32)[3])


def ids(answers: list[bytes | BaseException]) -> list[str]:
    """Of those that are answers."""
    return [pb.ModelInferResponse.FromString(answer).id for answer in answers if isinstance(answer, bytes)]


def all_but(place: int) -> list[str]:
    return [str(n) for n in range(60) if n != place]


async def test_calls_of_many_shapes_at_once_each_get_their_own_answer(redis_url: str) -> None:
    bodies = [echo_request(*[[n, 0, 0]] * (n % 8 + 1), id=f"{n:04}" * (n % 3)) for n in range(300)]
    async with running_front(redis_url) as front, HandWorker(front) as worker, front.channel() as channel:
        answers = await asyncio.gather(*infer_all(channel, bodies))
        for body, answer in zip(bodies, map(pb.ModelInferResponse.FromString, answers), strict=True):
            asked = pb.ModelInferRequest.FromString(body)
            assert (answer.id, answer.outputs[0].shape) == (asked.id, asked.inputs[0].shape)
            assert answer.raw_output_contents == asked.raw_input_contents
        blocks = [block for entry in worker.entries for block in entry.blocks]
        assert sum(block.count for block in blocks) == 300
        assert all(block.layout is not None and len(block.layout.inputs) == 1 for block in blocks)
        figures = front.statistics.of("acme-echo.1")
        assert (figures.success.count, figures.fail.count) == (300, 0)
        await eventually(front.at_rest)


async def test_one_call_of_a_block_is_cancelled_and_the_others_are_answered(redis_url: str) -> None:
    async with running_front(redis_url) as front, front.channel() as channel:
        calls, block = await with_a_block(front, channel)
        victim = second_of(block)
        calls[victim].cancel()
        await eventually(lambda: front.calls() == 59)
        assert front.fleet.cancelled[-1] == block.number + 1
        async with HandWorker(front):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert ids(answers) == all_but(victim)
        await eventually(front.at_rest)


async def test_one_call_of_a_block_fails_and_the_others_are_answered(redis_url: str) -> None:
    async with running_front(redis_url) as front, front.channel() as channel:
        calls, block = await with_a_block(front, channel)
        victim = second_of(block)

        async def picky(asked: Asked) -> Answer | InvalidArgument:
            return InvalidArgument("INVALID_CONTENTS", "no") if asked.first == victim else await echo(asked)

        async with HandWorker(front, picky):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = answers[victim]
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert from_call(refused).reason == "INVALID_CONTENTS"
        assert ids(answers) == all_but(victim)
        figures = front.statistics.of("acme-echo.1")
        assert (figures.success.count, figures.fail.count) == (59, 1)
        await eventually(front.at_rest)


async def test_a_block_of_many_is_run_one_by_one_after_its_worker_died_and_only_the_killer_is_poison(
    redis_url: str,
) -> None:
    async with running_front(redis_url) as front, front.channel() as channel:
        calls, block = await with_a_block(front, channel)
        killer = second_of(block)
        deaths: list[str] = []

        async def handle(asked: Asked) -> Answer:
            if asked.first == killer:
                deaths.append(workers[-1].incarnation)
                await asyncio.Event().wait()
            return await echo(asked)

        workers = [HandWorker(front, handle)]
        await workers[-1].__aenter__()
        for _ in range(2):
            before = len(deaths)
            await eventually(lambda: len(deaths) > before)  # noqa: B023 - awaited at once
            await workers[-1].kill()
            workers.append(HandWorker(front, handle))
            await workers[-1].__aenter__()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        poison = answers[killer]
        assert isinstance(poison, grpc.aio.AioRpcError)
        assert from_call(poison).reason == "POISON_REQUEST"
        assert ids(answers) == all_but(killer)
        assert len(deaths) == 2
        await eventually(front.at_rest)
        for worker in workers:
            await worker.__aexit__()


async def test_a_deadline_ends_every_call_of_a_block(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front, never), front.channel() as channel:
        calls = infer_all(channel, [echo_request(id=str(n)) for n in range(10)], timeout=0.5)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {from_call(answer).code for answer in answers if isinstance(answer, grpc.aio.AioRpcError)} == {
            "DEADLINE_EXCEEDED"
        }
        await eventually(lambda: not front.calls())
        await eventually(front.is_balanced)


async def test_a_stream_goes_on_after_a_message_that_is_none(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front), front.channel() as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        bodies = [echo_request(id="a"), b"\xff\xff", b"", echo_request(id="b")]
        answers = [pb.ModelStreamInferResponse.FromString(answer) async for answer in stream(iter(bodies), timeout=10)]
    assert [answer.infer_response.id for answer in answers] == ["a", "", "", "b"]
    assert ["MALFORMED_REQUEST" in answers[1].error_message, "MODEL_NOT_FOUND" in answers[2].error_message] == [
        True
    ] * 2


async def test_typed_and_raw_requests_of_one_turn_are_both_answered(redis_url: str) -> None:
    typed = pb.ModelInferRequest(model_name="acme-echo", id="typed")
    tensor = typed.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    tensor.contents.fp32_contents.extend([1, 2, 3])

    async def as_raw(asked: Asked) -> Answer:
        request = asked.parsed()
        if asked.layout is None:
            request.raw_input_contents.append(np.float32(request.inputs[0].contents.fp32_contents).tobytes())
        head = pb.ModelInferResponse(model_name="m")
        return Answer(head.SerializeToString(), (request.raw_input_contents[0],))

    async with running_front(redis_url) as front, HandWorker(front, as_raw) as worker, front.channel() as channel:
        bodies = [echo_request([1, 2, 3], id=str(n)) for n in range(8)]
        answers = await asyncio.gather(*infer_all(channel, [*bodies[:4], typed.SerializeToString(), *bodies[4:]]))
        found = [pb.ModelInferResponse.FromString(answer) for answer in answers]
        assert [answer.id for answer in found] == ["0", "1", "2", "3", "typed", "4", "5", "6", "7"]
        assert len({answer.raw_output_contents[0] for answer in found}) == 1
        assert sorted(asked.layout is None for asked in worker.seen) == [False] * 8 + [True]


async def test_a_thousand_calls_on_a_new_connection_are_all_answered(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front), front.channel() as channel:
        answers = await asyncio.gather(*infer_all(channel, [echo_request(id=str(n)) for n in range(1_000)], timeout=60))
        assert [pb.ModelInferResponse.FromString(answer).id for answer in answers] == [str(n) for n in range(1_000)]
        await eventually(front.at_rest)
