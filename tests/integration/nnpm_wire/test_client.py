"""The worker's client, against gRPC servers."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from integration.nnpm_wire.driven import OPTIONS, WAIT, turn_of
from nnpm_wire import Client


class Served(grpc.GenericRpcHandler):
    """A server of four methods."""

    def __init__(self, address: str) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self], options=OPTIONS)
        self.port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        """At once."""
        self._server.stop(0).wait(WAIT)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Every method that is there."""
        behaviour = getattr(self, handler_call_details.method.rpartition("/")[2], None)
        return grpc.unary_stream_rpc_method_handler(behaviour) if behaviour else None

    def echo(self, request: bytes, _context: Any) -> Iterator[bytes]:
        """One message."""
        yield request

    def thrice(self, request: bytes, _context: Any) -> Iterator[bytes]:
        """Three."""
        yield from (request, b"", request[::-1])

    def fails(self, _request: bytes, context: Any) -> Iterator[bytes]:
        """With a status and details."""
        context.set_trailing_metadata([("grpc-status-details-bin", b"\0\1\2")])
        context.abort(grpc.StatusCode.NOT_FOUND, "not «here»")
        yield b""

    def sleeps(self, _request: bytes, _context: Any) -> Iterator[bytes]:
        """Longer than anyone waits."""
        time.sleep(2)
        yield b""


@pytest.fixture
def server() -> Iterator[Served]:
    """On a free port."""
    served = Served("127.0.0.1:0")
    yield served
    served.stop()


@pytest.fixture
def client() -> Iterator[Client]:
    """One."""
    opened = Client(max_message_bytes=16 << 20)
    yield opened
    opened.close()


def test_parts_arrive_joined_and_messages_come_back_in_order(server: Served, client: Client) -> None:
    address = f"127.0.0.1:{server.port}"
    big = np.arange(1 << 20, dtype=np.uint32).view(np.uint8)
    token = client.call(address, "/s/thrice", [b"a", memoryview(b"bc"), bytearray(), big.data], WAIT)
    whole = b"abc" + big.tobytes()
    assert turn_of(client) == [(token, 0, "", b"", [whole, b"", whole[::-1]])]


def test_many_calls_are_under_way_at_once(server: Served, client: Client) -> None:
    address = f"127.0.0.1:{server.port}"
    sent = {client.call(address, "/s/echo", [str(n).encode()], WAIT): str(n).encode() for n in range(500)}
    got: dict[int, bytes] = {}
    while len(got) < len(sent):
        for token, code, text, _, messages in turn_of(client):
            assert code == 0, text
            got[token] = messages[0]
    assert got == sent


def test_a_status_comes_with_its_details(server: Served, client: Client) -> None:
    token = client.call(f"127.0.0.1:{server.port}", "/s/fails", [b""], WAIT)
    assert turn_of(client) == [(token, 5, "not «here»", b"\0\1\2", [])]


def test_a_call_ends_when_its_time_is_up(server: Served, client: Client) -> None:
    begun = time.monotonic()
    client.call(f"127.0.0.1:{server.port}", "/s/sleeps", [b""], 0.2)
    assert turn_of(client)[0][1] == 4
    assert time.monotonic() - begun < 1.9


def test_a_server_that_was_away_is_found_again(client: Client) -> None:
    first = Served("127.0.0.1:0")
    address = f"127.0.0.1:{first.port}"
    client.call(address, "/s/echo", [b"1"], WAIT)
    assert turn_of(client)[0][1] == 0
    client.call(address, "/s/sleeps", [b""], WAIT)
    first.stop()
    assert turn_of(client)[0][1] in {1, 14}  # as its server said, or its connection broke
    client.call(address, "/s/echo", [b"2"], WAIT)
    assert turn_of(client)[0][1] == 14  # nobody is there
    second = Served(address)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        client.call(address, "/s/echo", [b"3"], WAIT)
        if turn_of(client)[0][1] == 0:
            break
    else:
        raise AssertionError("it was never dialled again")
    second.stop()


def test_a_message_beyond_the_limit_is_an_error(server: Served) -> None:
    client = Client(max_message_bytes=1_000)
    client.call(f"127.0.0.1:{server.port}", "/s/echo", [b"x" * 1_001], WAIT)
    assert turn_of(client)[0][1] != 0
    client.close()


def test_a_client_that_is_closed_with_calls_under_way_ends_at_once(server: Served) -> None:
    client = Client(max_message_bytes=1_000)
    client.call(f"127.0.0.1:{server.port}", "/s/sleeps", [b""], WAIT)
    begun = time.monotonic()
    client.close()
    assert time.monotonic() - begun < 1.9
