"""Blocks of the grpc.aio transport: what is joined, what is cut, and what each call is answered with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import Unavailable
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls, Failure, _rounded
from nnpm_scheduler.dispatch.model_stream import _streamed
from nnpm_scheduler.dispatch.refusals import refuse
from support.core import call_of
from support.front import echo_request


def block(*calls: AioCall) -> AioCalls:
    return AioCalls(list(calls))


def rows(count: int) -> list[AioCall]:
    return [call_of(echo_request([n, n, n], id=f"id-{n}" if n % 2 else "")) for n in range(count)]


async def test_every_call_gets_its_own_reply_as_protobuf_writes_it() -> None:
    calls = rows(5)
    head = pb.ModelInferResponse(model_name="m", model_version="1.0.0")
    head.outputs.add(name="y", datatype="FP32", shape=[1, 3])
    head.outputs.add(name="z", datatype="INT8", shape=[200])
    raw = [b"".join(bytes([n]) * 12 for n in range(5)), b"".join(bytes([n]) * 200 for n in range(5))]
    answered = block(*calls).answer(0, 5, head.SerializeToString(), [memoryview(raw[0]), raw[1]])
    assert answered == 5
    for n, call in enumerate(calls):
        wanted = pb.ModelInferResponse()
        wanted.CopyFrom(head)
        wanted.id = call.id
        wanted.raw_output_contents[:] = [bytes([n]) * 12, bytes([n]) * 200]
        assert pb.ModelInferResponse.FromString(call.outcome.result()) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 70_000])
async def test_tensors_of_any_size_are_framed_right(size: int) -> None:
    (call,) = rows(1)
    assert block(call).answer(0, 1, b"", [bytes(size)]) == 1
    outcome = call.outcome.result()
    assert isinstance(outcome, bytes)
    assert pb.ModelInferResponse.FromString(outcome).raw_output_contents == [bytes(size)]
    message = pb.ModelStreamInferResponse.FromString(_streamed(call))
    assert message.infer_response.raw_output_contents == [bytes(size)]


async def test_a_reply_to_a_part_answers_that_part_and_only_who_waits_is_counted() -> None:
    calls = rows(4)
    whole = block(*calls)
    calls[2].outcome.cancel()
    assert whole.answer(1, 2, b"", [bytes(range(24))]) == 1
    assert whole.live() == [0, 3]
    assert whole.answer(1, 2, b"", [bytes(24)]) == 0
    assert pb.ModelInferResponse.FromString(calls[1].outcome.result()).raw_output_contents == [  # type: ignore[arg-type]
        bytes(range(12))
    ]


async def test_failing_reaches_who_waits_and_nobody_twice() -> None:
    calls = rows(3)
    whole = block(*calls)
    whole.answer(0, 1, b"", [bytes(12)])
    assert refuse(whole, Unavailable("SERVER_STOPPING", "going")) == 2
    assert refuse(whole, Unavailable("SERVER_STOPPING", "going")) == 0
    outcome = calls[1].outcome.result()
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.message, outcome.streamed) == (14, "going", "going [SERVER_STOPPING]")
    message = pb.ModelStreamInferResponse.FromString(_streamed(calls[1]))
    assert (message.error_message, message.infer_response.id) == ("going [SERVER_STOPPING]", "id-1")


@given(st.integers(1, 12), st.integers(1, 12))
def test_splitting_keeps_order_bytes_and_size(count: int, first: int) -> None:
    import asyncio  # noqa: PLC0415

    async def check() -> None:
        calls = rows(count)
        whole = block(*calls)
        size, raw = whole.size, whole.raw()
        if first >= count:
            return
        part = whole.split(first)
        assert (len(part), len(whole)) == (first, count - first)
        assert part.size + whole.size == size
        assert [one + two for one, two in zip(part.raw(), whole.raw(), strict=True)] == raw
        assert part.body() == calls[0].body
        assert whole.body() == calls[first].body

    asyncio.run(check())


async def test_calls_share_a_block_by_header_and_deadline_and_never_with_a_context() -> None:
    one, two = call_of(echo_request(id="a")), call_of(echo_request([7, 8, 9], id="b"))
    assert one.block == two.block
    assert one.block != call_of(echo_request(model="other")).block
    assert one.block != call_of(echo_request(), timeout=None).block
    assert one.block != call_of(echo_request(), timeout=61.0).block
    assert one.block == call_of(echo_request(), timeout=60.0).block
    traced = call_of(echo_request(), traceparent="00-aa-bb-00")
    assert traced.block is traced
    odd = call_of(b"\xff")
    assert odd.block is odd
    assert (odd.id, block(odd).header, block(odd).raw()) == ("", b"", [])


@given(st.floats(1e-6, 1e6))
def test_a_rounded_timeout_is_less_by_a_thousandth_at_most(timeout: float) -> None:
    assert 0 <= timeout - _rounded(timeout) <= timeout / 1_000 + 1e-9


async def test_the_shortest_timeout_is_the_blocks() -> None:
    assert block(call_of(echo_request(), timeout=5.0), call_of(echo_request(), timeout=4.999)).timeout == 4.999
    assert block(call_of(echo_request(), timeout=None)).timeout is None
