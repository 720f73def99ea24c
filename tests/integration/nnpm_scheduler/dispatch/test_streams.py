"""ModelStreamInfer: a thousand requests in flight on one stream, some of them cancelled, answers in either order."""

import asyncio
import queue
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference import inference_pb2_grpc
from nnpm.rpc.status import from_call
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, running_front
from support.waiting import eventually

WAIT = 30.0
Stream = grpc.aio.StreamStreamCall[pb.ModelInferRequest, pb.ModelStreamInferResponse]


@pytest.fixture
async def front(redis_url: str) -> AsyncIterator[Front]:
    async with running_front(redis_url) as running:
        yield running


class Gate:
    """Has requests in hand until it is opened; `begun` are the numbers on those that came so far."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open = asyncio.Event()

    async def __call__(self, asked: Asked) -> Answer:
        self.begun.append(int(asked.first))
        await self.open.wait()
        return await echo(asked)


def request(number: int) -> pb.ModelInferRequest:
    """Its id and its tensor say the number."""
    return pb.ModelInferRequest.FromString(echo_request([number, 0, 0], id=str(number)))


def cancel(number: int) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="acme-echo")
    message.parameters["nnpm_cancel"].string_param = str(number)
    return message


def number_of(answer: pb.ModelStreamInferResponse) -> int:
    """After a look at whether the tensor is the request's own."""
    assert not answer.error_message
    (tensor,) = answer.infer_response.raw_output_contents
    assert np.frombuffer(tensor, np.float32)[0] == int(answer.infer_response.id)
    return int(answer.infer_response.id)


async def rest(stream: Stream) -> list[int]:
    """The numbers of all answers that are still to come."""
    await stream.done_writing()
    answers = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        answers.append(number_of(answer))
    return answers


@pytest.mark.parametrize("order", ["request", "completion"])
async def test_of_a_thousand_requests_a_hundred_are_cancelled_and_nine_hundred_answered(
    front: Front, order: str
) -> None:
    gate, cancelled = Gate(), set(range(300, 700, 4))
    async with front.channel() as channel, HandWorker(front, gate):
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(timeout=WAIT, metadata=[("nnpm-stream-order", order)])
        for number in range(1_000):
            await stream.write(request(number))
        await eventually(lambda: front.calls() == 1_000)
        held = front.held()
        await eventually(lambda: bool(gate.begun))
        assert not cancelled & set(gate.begun)
        for number in sorted(cancelled):
            await stream.write(cancel(number))
        await eventually(lambda: front.calls() == 900)
        assert front.held() < held * 0.95
        gate.open.set()
        answers = await rest(stream)
        assert len(answers) == 900
        assert set(answers) == set(range(1_000)) - cancelled
        if order == "request":
            assert answers == sorted(answers)
        assert not cancelled & set(gate.begun)
        await eventually(front.at_rest)


async def test_a_quick_answer_overtakes_a_slow_one_where_the_stream_asks_for_that(front: Front) -> None:
    gate = Gate()

    async def slow_first(asked: Asked) -> Answer:
        return await (gate(asked) if asked.first == 0 else echo(asked))

    async with front.channel() as channel, HandWorker(front, slow_first), HandWorker(front, slow_first):
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(timeout=WAIT, metadata=[("nnpm-stream-order", "completion")])
        await stream.write(request(0))
        await eventually(lambda: bool(gate.begun))
        await stream.write(request(1))
        assert number_of(await stream.read()) == 1
        gate.open.set()
        assert await rest(stream) == [0]
        await eventually(front.at_rest)


async def test_a_cancelled_request_that_a_worker_has_in_hand_is_told_to_the_workers(front: Front) -> None:
    gate = Gate()
    async with front.channel() as channel, HandWorker(front, gate):
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(timeout=WAIT)
        await stream.write(request(1))
        await eventually(lambda: gate.begun == [1])
        await stream.write(request(2))
        await stream.write(cancel(1))
        await eventually(lambda: len(front.fleet.cancelled) == 1)
        gate.open.set()
        assert await rest(stream) == [2]
        await eventually(front.at_rest)


async def test_cancelling_what_is_answered_or_unknown_changes_nothing(front: Front) -> None:
    async with front.channel() as channel, HandWorker(front):
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(timeout=WAIT)
        await stream.write(request(1))
        assert number_of(await stream.read()) == 1
        for number in (1, 7):
            await stream.write(cancel(number))
        await stream.write(request(2))
        assert await rest(stream) == [2]
        await eventually(front.at_rest)


async def test_what_is_asked_wrong_is_refused_with_its_reason(front: Front) -> None:
    async with front.channel() as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelStreamInfer(timeout=WAIT, metadata=[("nnpm-stream-order", "any")]).read()
        assert from_call(refused.value).reason == "STREAM_ORDER_UNKNOWN"
        nameless = pb.ModelInferRequest(id="x")
        nameless.parameters["nnpm_cancel"].bool_param = True
        (answer,) = [each async for each in stub.ModelStreamInfer(iter([nameless]), timeout=WAIT)]
        assert (answer.infer_response.id, "nnpm_cancel" in answer.error_message) == ("x", True)


async def test_tritons_client_can_say_both(front: Front) -> None:
    gate = Gate()
    answers: queue.Queue[tuple[triton.InferResult | None, Exception | None]] = queue.Queue()

    client = triton.InferenceServerClient(front.address)

    def send() -> None:
        headers = {"nnpm-stream-order": "completion"}
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for number in range(20):
            tensor = triton.InferInput("x", [1, 3], "FP32")
            tensor.set_data_from_numpy(np.array([[number, 0, 0]], dtype=np.float32))
            client.async_stream_infer("acme-echo", [tensor], request_id=str(number))

    await asyncio.to_thread(send)
    await eventually(lambda: front.calls() == 20)
    client.async_stream_infer("acme-echo", [], parameters={"nnpm_cancel": "15"})
    await eventually(lambda: front.calls() == 19)
    gate.open.set()
    async with HandWorker(front, gate):
        got = [await asyncio.to_thread(answers.get, timeout=WAIT) for _ in range(19)]
        await asyncio.to_thread(client.stop_stream)
        await asyncio.to_thread(client.close)
    assert {int(result.get_response().id) for result, _ in got if result is not None} == {*range(20)} - {15}
    assert answers.empty()
