"""What the front does not serve itself passes to the gRPC server behind it, stream for stream."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc
import pytest

from integration.nnpm_wire.driven import OPTIONS, WAIT, Driven
from support.waiting import wait_until

ANY = "/inference.GRPCInferenceService/Anything"


class Behind(grpc.GenericRpcHandler):
    """The server behind: a stream of messages each way, and what it knows of its callers."""

    def __init__(self, address: str) -> None:
        self.seen: list[bytes] = []
        self.written = 0
        self.ended = Event()
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self], options=OPTIONS)
        self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        """At once."""
        self._server.stop(0).wait(WAIT)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Every method."""
        name = handler_call_details.method.rpartition("/")[2].lower()
        behaviour = getattr(self, name, None)
        return grpc.stream_stream_rpc_method_handler(behaviour) if behaviour else None

    def anything(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Echoes, with the caller's metadata around it."""
        came = dict(context.invocation_metadata())
        context.send_initial_metadata([("first", came["asked"])])
        context.set_trailing_metadata([("last-bin", b"\0\xff")])
        for message in requests:
            yield message[::-1]

    def fails(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """With a status."""
        yield from ()
        context.abort_with_status(_Status(grpc.StatusCode.NOT_FOUND, "nöt here", (("why-bin", b"\1"),)))

    def session(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Stays open until its caller is gone."""
        context.add_callback(self.ended.set)
        for message in requests:
            self.seen.append(message)
            yield b"taken"

    def floods(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """More than any window holds."""
        for _ in range(200):
            self.written += 1
            yield bytes(1 << 20)


class _Status(grpc.Status):
    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes], ...]) -> None:
        self.code, self.details, self.trailing_metadata = code, details, trailing


@pytest.fixture
def behind(driven: Driven) -> Iterator[Behind]:
    """Where the front looks for it."""
    server = Behind(f"unix:{driven.upstream}")
    yield server
    server.stop()


@pytest.mark.parametrize("door", ["data", "mesh"])
def test_messages_and_metadata_pass_both_ways(driven: Driven, behind: Behind, door: str) -> None:
    assert not behind.seen
    messages = [b"abc", b"", bytes(range(256)) * 20_000]
    call = driven.channel(getattr(driven, door)).stream_stream(ANY)(
        iter(messages), timeout=WAIT, metadata=[("asked", "so")]
    )
    assert list(call) == [message[::-1] for message in messages]
    assert ("first", "so") in call.initial_metadata()
    assert ("last-bin", b"\0\xff") in call.trailing_metadata()


def test_a_status_passes_with_its_details(driven: Driven, behind: Behind) -> None:
    call = driven.channel().stream_stream(ANY.replace("Anything", "Fails"))(iter([]), timeout=WAIT)
    with pytest.raises(grpc.RpcError) as failed:
        list(call)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "nöt here")
    assert ("why-bin", b"\1") in failed.value.trailing_metadata()
    with pytest.raises(grpc.RpcError) as unknown:
        driven.channel().unary_unary("/none/Such")(b"", timeout=WAIT)
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not behind.seen


def test_a_session_lives_while_its_caller_does(driven: Driven, behind: Behind) -> None:
    end = Event()

    def requests() -> Iterator[bytes]:
        yield b"hello"
        end.wait(WAIT)

    channel = driven.channel(driven.mesh)
    call = channel.stream_stream("/nnpm.api.worker.v1.WorkerService/Session")(requests())
    assert next(iter(call)) == b"taken"
    driven.front.drain()  # clients go; workers stay
    assert not behind.ended.wait(0.3)
    channel.close()
    end.set()
    assert behind.ended.wait(WAIT)


def test_a_reader_that_is_slow_holds_the_server_behind_back(driven: Driven, behind: Behind) -> None:
    call = driven.channel().stream_stream(ANY.replace("Anything", "Floods"))(iter([]), timeout=120)
    assert len(next(call)) == 1 << 20
    wait_until(lambda: behind.written > 1)
    settled = wait_until(lambda: _settled(behind))
    assert settled < 150
    assert sum(map(len, call)) == 199 << 20


def _settled(behind: Behind) -> int:
    before = behind.written
    Event().wait(0.5)
    return before if before == behind.written else 0


def test_without_a_server_behind_a_call_fails_at_once(driven: Driven) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        driven.channel().unary_unary(ANY)(b"", timeout=WAIT)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
