"""ModelStreamInfer: each message is a call, answers come in the order of the requests."""

from collections.abc import Iterator
from threading import Event
from typing import Any

from integration.nnpm_wire.driven import HEAD, WAIT, Driven, numbered, reply, request
from nnpm.api.inference import inference_pb2 as pb


def stream(driven: Driven, bodies: Iterator[bytes]) -> Any:
    """Begun."""
    return driven.channel().stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(bodies, timeout=WAIT)


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
