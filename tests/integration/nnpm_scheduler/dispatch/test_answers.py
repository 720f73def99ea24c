"""Every accepted call is answered once, by whoever takes it from Redis."""

import asyncio

import grpc
import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference import inference_pb2_grpc
from nnpm.rpc.status import from_call
from nnpm_scheduler.dispatch.routes import RevisionRoute
from support.front import HandWorker, echo_request, running_front
from support.waiting import eventually


async def test_a_call_is_answered_by_a_worker_and_leaves_nothing_behind(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front):
        answer = pb.ModelInferResponse.FromString(await front.infer(echo_request([4, 5, 6], id="seven")))
        assert (answer.model_name, answer.model_version, answer.id) == ("acme-echo", "1.0.0", "seven")
        assert (
            answer.raw_output_contents[0]
            == pb.ModelInferRequest.FromString(echo_request([4, 5, 6])).raw_input_contents[0]
        )
        await eventually(front.at_rest)


async def test_each_of_many_concurrent_calls_gets_its_own_answer(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front) as first, HandWorker(front) as second:
        async with front.channel() as channel:
            infer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer

            async def one(number: int) -> None:
                request = pb.ModelInferRequest.FromString(echo_request([number, 0, 0], id=str(number)))
                answer = await infer(request, timeout=20)
                assert answer.id == str(number)
                assert answer.raw_output_contents[0] == request.raw_input_contents[0]

            await asyncio.gather(*(one(number) for number in range(500)))
        assert len(first.seen) + len(second.seen) == 500
        await eventually(front.at_rest)


async def test_a_fault_that_one_request_brings_out_costs_no_other_call(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_front(redis_url) as front, HandWorker(front):
        resolve = front.routes.resolve

        def faulty(name: str, version: str) -> RevisionRoute:
            if name == "faulty":
                raise ZeroDivisionError
            return resolve(name, version)

        monkeypatch.setattr(front.routes, "resolve", faulty)
        async with front.channel() as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            bodies = [echo_request(model="faulty" if n == 3 else "acme-echo") for n in range(6)]
            answers = await asyncio.gather(*(infer(body, timeout=10) for body in bodies), return_exceptions=True)
        assert [isinstance(answer, bytes) for answer in answers] == [n != 3 for n in range(6)]
        assert isinstance(answers[3], grpc.aio.AioRpcError)
        error = from_call(answers[3])
        assert (error.code, error.reason) == ("INTERNAL", "INTERNAL_ERROR")
