"""ModelStreamInfer: each message is a call or cancels one; answers come in the order of requests, or as they can."""

from collections.abc import Iterator
from queue import Queue
from threading import Event
from typing import Any

import grpc
import pytest

from integration.nnpm_wire.driven import CODES, HEAD, WAIT, Driven, numbered, reply, request
from nnpm.api.inference import inference_pb2 as pb


def stream(driven: Driven, bodies: Iterator[bytes], order: str = "") -> Any:
    """Begun."""
    method = driven.channel().stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    return method(bodies, timeout=WAIT, metadata=[("nnpm-stream-order", order)] if order else [])


def test_answers_come_in_the_order_of_the_requests(driven: Driven) -> None:
    call = stream(driven, iter([request(bytes([n]), str(n)) for n in range(20)]))
    blocks = driven.arrived(20)
    assert all(block.method == "ModelStreamInfer" for block in blocks)
    for block in reversed(blocks):
        number, tensors = driven.fly(block), block.raw()[0]
        for offset in reversed(range(len(block))):
            driven.deliver(reply(number, 1, tensors[offset : offset + 1], offset=offset))
    answers = [pb.ModelStreamInferResponse.FromString(each).infer_response for each in call]
    assert [(each.id, each.raw_output_contents) for each in answers] == [(str(n), [bytes([n])]) for n in range(20)]
    assert driven.at_rest()


def test_an_error_is_a_message_that_names_its_request(driven: Driven) -> None:
    call = stream(driven, iter([request(id="good"), request(id="bad", model="none")]))
    driven.arrived(2)
    for block in driven.blocks:
        if block.ids() == ["bad"]:
            block.fail(5, "unseen", b"", "no such model [MODEL_NOT_FOUND]")
        else:
            assert block.answer(0, 1, HEAD, []) == 1
    good, bad = (pb.ModelStreamInferResponse.FromString(each) for each in call)
    assert (good.error_message, good.infer_response.id) == ("", "good")
    assert (bad.error_message, bad.infer_response.id) == ("no such model [MODEL_NOT_FOUND]", "bad")


def test_a_stream_with_a_thousand_unanswered_requests_is_not_read_on(driven: Driven) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[bytes]:
        for n in range(3_000):
            drawn.append(n)
            yield request(b"t" * 4_000)

    call = stream(driven, endless())
    driven.arrived(1_024)
    driven.turn(0.3)
    assert sum(map(len, driven.blocks)) == 1_024
    assert len(drawn) < 2_500
    call.cancel()
    driven.blocks.clear()
    driven.until(driven.at_rest)


def test_a_reader_that_is_slow_does_not_make_answers_pile_up(driven: Driven) -> None:
    go_on, size = Event(), 1 << 20

    def requests() -> Iterator[bytes]:
        yield from [request(id=str(n)) for n in range(30)]
        go_on.wait(WAIT)

    call = stream(driven, requests())
    for block in driven.arrived(30):
        driven.deliver(reply(driven.fly(block), len(block), b"r" * size * len(block)))
    assert driven.front.calls_held > 0  # what cannot be written is still counted
    go_on.set()
    assert sum(len(each) > size for each in call) == 30
    driven.until(driven.at_rest)


def test_a_broken_streams_calls_are_cancelled(driven: Driven) -> None:
    more = Event()

    def requests() -> Iterator[bytes]:
        yield request(id="a")
        yield request(id="b")
        more.wait(WAIT)

    call = stream(driven, requests())
    blocks = driven.arrived(2)
    assert numbered(blocks) == ["a", "b"]
    expected = {(driven.fly(block), 0) for block in blocks} if len(blocks) == 2 else {(driven.fly(blocks[0]), 0)}
    call.cancel()
    driven.until(lambda: len(driven.cancelled) == 2)
    more.set()
    assert expected <= set(driven.cancelled)
    driven.until(driven.at_rest)


def test_a_stream_whose_requests_are_all_read_is_cancelled_too(driven: Driven) -> None:
    call = stream(driven, iter([request()]))
    (block,) = driven.arrived(1)
    number = driven.fly(block)
    call.cancel()
    driven.until(lambda: driven.cancelled == [(number, 0)])
    driven.until(driven.at_rest)


def cancel(id: str) -> bytes:  # noqa: A002 -- as the protocol
    """A message that cancels a request of its stream."""
    message = pb.ModelInferRequest(model_name="m")
    message.parameters["nnpm_cancel"].string_param = id
    return message.SerializeToString()


def test_one_request_is_cancelled_wherever_it_is_and_the_others_are_answered(driven: Driven) -> None:
    requests: Queue[bytes | None] = Queue()
    call = stream(driven, iter(requests.get, None))
    for name in ("flying", "a", "waiting", "b", "flying"):
        requests.put(request(id=name))
    numbers = [driven.fly(block) for block in driven.arrived(5)]
    requests.put(request(id="early"))  # which may be cancelled before a turn takes it
    for name in ("early", "flying", "waiting", "nobody", "a" * 300):
        requests.put(cancel(name))
    driven.until(lambda: len(driven.cancelled) == 3)
    requests.put(None)
    for number, block in zip(numbers, driven.blocks, strict=False):
        driven.deliver(reply(number, len(block), bytes(4 * len(block))))
    answers = [pb.ModelStreamInferResponse.FromString(each).infer_response.id for each in call]
    assert answers == ["a", "b"]
    driven.until(driven.at_rest)


def test_answers_leave_as_they_come_where_that_is_asked_for(driven: Driven) -> None:
    more = Event()

    def requests() -> Iterator[bytes]:
        yield from [request(bytes([n]), str(n)) for n in range(5)]
        more.wait(WAIT)

    call = stream(driven, requests(), order="completion")
    came: list[str] = []
    for block in reversed(driven.arrived(5)):
        number, tensors = driven.fly(block), block.raw()[0]
        for offset in reversed(range(len(block))):
            driven.deliver(reply(number, 1, tensors[offset : offset + 1], offset=offset))
            answer = pb.ModelStreamInferResponse.FromString(next(call)).infer_response
            came.append(answer.id)
            assert answer.raw_output_contents == [tensors[offset : offset + 1]]
    more.set()
    assert (came, list(call)) == (["4", "3", "2", "1", "0"], [])


def test_an_order_that_there_is_not_is_refused(driven: Driven) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(stream(driven, iter([request()]), order="random"))
    assert (refused.value.code(), refused.value.details()) == (CODES[9], "refused: unknown_order")
    driven.until(driven.at_rest)


def test_a_cancellation_without_an_id_is_an_error_of_its_own(driven: Driven) -> None:
    nameless = pb.ModelInferRequest(id="c")
    nameless.parameters["nnpm_cancel"].int64_param = 7
    call = stream(driven, iter([nameless.SerializeToString(), cancel("")]))
    answers = [pb.ModelStreamInferResponse.FromString(each) for each in call]
    assert [(each.error_message, each.infer_response.id) for each in answers] == [
        ("refused: names_no_id", "c"),
        ("refused: names_no_id", ""),
    ]
    driven.until(driven.at_rest)
