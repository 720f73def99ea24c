"""What is too much, too long or no gRPC at all is refused, and the next good call works."""

import socket
from collections.abc import Callable
from contextlib import suppress

import grpc
import pytest

from integration.nnpm_wire.driven import Driven, answer, reply, request
from integration.nnpm_wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    coded,
    frame,
    headers,
)

Start = Callable[..., Driven]


def works(driven: Driven) -> None:
    """A good call is answered, and then nothing is held."""
    driven.blocks.clear()
    call = driven.call(request(id="good"))
    (block,) = driven.arrived(1)
    assert driven.deliver(reply(driven.fly(block), 1, b"x")) == 1
    assert answer(call).id == "good"
    driven.blocks.clear()
    driven.until(driven.at_rest)


def refused(driven: Driven, call: grpc.Future, reason: str) -> None:
    """A call fails with what Python said such calls fail with."""
    error = call.exception(20)
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, f"refused: {reason}")
    assert ("grpc-status-details-bin", b"details of it") in error.trailing_metadata()


def test_a_message_too_large_is_refused_before_it_has_come(start: Start) -> None:
    driven = start(max_message_bytes=100_000)
    refused(driven, driven.call(request(b"t" * 100_001)), "message_too_large")
    works(driven)


def test_bytes_from_one_connection_and_in_all_are_bounded(start: Start) -> None:
    driven = start(connection_bytes=1_000_000, total_bytes=1_500_000)
    channel = driven.channel()
    held = [driven.call(request(b"t" * 700_000), channel=channel)]
    driven.arrived(1)
    refused(driven, driven.call(request(b"t" * 700_000), channel=channel), "connection_bytes")
    held.append(driven.call(request(b"t" * 700_000)))
    driven.arrived(2)
    refused(driven, driven.call(request(b"t" * 700_000)), "total_bytes")
    for block in driven.blocks:
        driven.deliver(reply(driven.fly(block), 1))
    assert [answer(call).model_name for call in held] == ["m", "m"]
    works(driven)


def test_calls_are_bounded(start: Start) -> None:
    driven = start(calls=3)
    held = [driven.call(request()) for _ in range(3)]
    driven.arrived(3)
    refused(driven, driven.call(request()), "too_many_calls")
    for call in held:
        call.cancel()
    driven.until(lambda: driven.front.calls_held == 0)
    works(driven)


def test_a_stream_says_in_a_message_which_request_was_too_much(start: Start) -> None:
    driven = start(calls=1)
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    call = driven.channel().stream_stream(method)(iter([request(id="a"), request(id="b")]), timeout=20)
    (block,) = driven.arrived(1)
    driven.deliver(reply(driven.fly(block), 1))
    assert [b"refused: too_many_calls" in each for each in call] == [False, True]
    works(driven)


class Raw:
    """A client of frames."""

    def __init__(self, driven: Driven) -> None:
        host, port = driven.data.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.send(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))

    def send(self, data: bytes) -> None:
        """As it is."""
        self.socket.sendall(data)

    def answer(self, until: bytes) -> bytes:
        """What comes, up to these bytes; or all, when it closes before."""
        got = b""
        while until not in got and (more := self.socket.recv(65536)):
            got += more
        return got


def test_a_half_sent_body_is_counted_and_let_go_with_its_connection(driven: Driven) -> None:
    raw = Raw(driven)
    announced = b"\0" + (1 << 20).to_bytes(4, "big")
    raw.send(frame(HEADERS, END_HEADERS, 1, headers()) + frame(DATA, 0, 1, announced + b"x" * 10_000))
    driven.until(lambda: driven.front.bytes_held == 10_005)
    assert driven.front.calls_held == 1
    raw.socket.close()
    driven.until(driven.at_rest)
    works(driven)


@pytest.mark.parametrize(
    ("head", "status"),
    [({"content-type": "text/plain"}, "415"), ({":method": "GET"}, "405")],
)
def test_what_is_no_grpc_call_is_answered_in_terms_of_http(driven: Driven, head: dict[str, str], status: str) -> None:
    raw = Raw(driven)
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, headers(**head)))
    assert coded(status) in raw.answer(coded(status))
    works(driven)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"\0\0", "malformed"),
        (b"\0\0\0\0\x05abc", "malformed"),
        (b"\0\0\0\0\0\0\0\0\0\0", "malformed"),
        (b"\7\0\0\0\0", "malformed"),
        (b"\1\0\0\0\0", "compressed"),
        (b"\0\xff\xff\xff\xff", "message_too_large"),
    ],
)
def test_bodies_that_are_no_single_message_are_refused(driven: Driven, body: bytes, reason: str) -> None:
    raw = Raw(driven)
    raw.send(frame(HEADERS, END_HEADERS, 1, headers()) + frame(DATA, END_STREAM, 1, body))
    said = coded(f"refused: {reason}")
    assert said in raw.answer(said)
    works(driven)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        PREFACE + b"\xff" * 200,
        PREFACE + frame(DATA, 0, 1, b"no headers before"),
        PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 2, headers()),
    ],
)
def test_what_is_no_http_2_ends_its_connection_alone(driven: Driven, bytes_: bytes) -> None:
    raw = Raw(driven)
    with suppress(ConnectionError):
        raw.send(bytes_)
        raw.answer(b"never said")  # returns when the connection ends
    works(driven)


def test_who_opens_and_resets_without_end_is_cut_off(driven: Driven) -> None:
    raw = Raw(driven)
    with suppress(ConnectionError):
        for n in range(20_000):
            raw.send(frame(HEADERS, END_HEADERS, 2 * n + 1, headers()) + frame(RST_STREAM, 0, 2 * n + 1, bytes(4)))
    with suppress(ConnectionError):
        raw.answer(b"never said")  # returns when the connection ends
    driven.until(driven.at_rest)
    works(driven)


def test_a_thousand_half_open_streams_do_not_keep_others_out(driven: Driven) -> None:
    raw = Raw(driven)
    for n in range(1_000):
        raw.send(frame(HEADERS, END_HEADERS, 2 * n + 1, headers()) + frame(DATA, 0, 2 * n + 1, b"\0"))
    driven.until(lambda: driven.front.calls_held == 1_000)
    call = driven.call(request())
    (block,) = driven.arrived(1)
    driven.deliver(reply(driven.fly(block), 1))
    assert answer(call)
    raw.socket.close()
    driven.until(driven.at_rest)
