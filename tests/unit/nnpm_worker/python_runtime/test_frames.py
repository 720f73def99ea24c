"""Messages between two processes that need not trust each other."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from nnpm_worker.python_runtime.frames import MOST_BYTES, Garbled, receive, send


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


Ends = tuple[socket.socket, socket.socket]


def test_messages_come_as_they_were_sent_one_after_the_other(ends: Ends) -> None:
    for message in ({"a": [1, "ß", None]}, {}):
        send(ends[0], message)
    assert receive(ends[1]) == {"a": [1, "ß", None]}
    assert receive(ends[1], time.monotonic() + 5) == {}


@pytest.mark.parametrize("content", [b"no json", b"[1]", b"\xff\xfe", b"[" * 100_000, b"{" * 1000, b"9" * 5000])
def test_what_is_no_message_is_said_so(ends: Ends, content: bytes) -> None:
    ends[0].sendall(struct.pack("<I", len(content)) + content)
    with pytest.raises(Garbled):
        receive(ends[1], time.monotonic() + 5)


def test_a_length_that_cannot_be_is_not_waited_for(ends: Ends) -> None:
    ends[0].sendall(struct.pack("<I", MOST_BYTES + 1))
    with pytest.raises(Garbled):
        receive(ends[1], time.monotonic() + 5)
    with pytest.raises(Garbled):
        send(ends[0], {"x": "y" * MOST_BYTES})


def test_half_a_message_is_waited_for_until_the_deadline_and_no_longer(ends: Ends) -> None:
    ends[0].sendall(struct.pack("<I", 10) + b"{")
    with pytest.raises(TimeoutError):
        receive(ends[1], time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        receive(ends[1], time.monotonic() - 1)
    ends[0].close()
    with pytest.raises(ConnectionError):
        receive(ends[1], time.monotonic() + 5)
