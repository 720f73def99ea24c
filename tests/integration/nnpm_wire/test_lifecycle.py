"""Calls that are given up, connections that break, doors that close, and TLS."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from integration.nnpm_wire.driven import Driven, answer, reply, request, turn_of
from nnpm_wire import Client
from support.certificates import self_signed
from support.waiting import wait_until

Start = Callable[..., Driven]


def test_a_call_that_is_given_up_is_told_by_number_and_offset(driven: Driven) -> None:
    channel = driven.channel()
    calls = {str(n): driven.call(request(id=str(n)), channel=channel, timeout=None) for n in range(3)}
    driven.held(3)
    (block,) = driven.arrived(3)
    number, order = driven.fly(block), block.ids()
    calls[order[1]].cancel()
    driven.until(lambda: driven.cancelled == [(number, 1)])
    assert block.live() == [0, 2]
    assert block.raw() == [bytes(12)]  # its bytes are gone, its place is not
    assert driven.deliver(reply(number, 3, b"abc")) == 2
    assert answer(calls[order[2]]).raw_output_contents == [b"c"]


def test_a_call_given_up_before_its_block_flies_is_told_once_it_does(driven: Driven) -> None:
    channel = driven.channel()
    calls = {str(n): driven.call(request(id=str(n)), channel=channel, timeout=None) for n in range(2)}
    driven.held(2)
    (block,) = driven.arrived(2)
    first = block.ids()[0]
    calls.pop(first).cancel()
    wait_until(lambda: block.live() == [1])
    driven.turn()
    assert driven.cancelled == []
    number = driven.fly(block)
    driven.until(lambda: driven.cancelled == [(number, 0)])


def test_a_broken_connection_gives_up_all_its_calls(driven: Driven) -> None:
    broken, whole = driven.channel(), driven.channel()
    kept = driven.call(request(), channel=whole)
    given_up = [driven.call(request(), channel=broken) for _ in range(2)]
    blocks = {driven.fly(block): block for block in driven.arrived(3)}
    broken.close()
    driven.until(lambda: len(driven.cancelled) == len(given_up))
    for number, block in blocks.items():
        driven.deliver(reply(number, len(block)))
    assert answer(kept).model_name == "m"
    driven.until(driven.at_rest)


def test_blocks_that_python_lets_go_of_reset_their_calls(driven: Driven) -> None:
    call = driven.call(request())
    driven.arrived(1)
    driven.blocks.clear()
    assert call.exception(20).code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL}
    driven.until(driven.at_rest)


def test_a_draining_front_finishes_what_it_has_and_takes_nothing_new(driven: Driven) -> None:
    channel = driven.channel()
    call = driven.call(request(), channel=channel)
    (block,) = driven.arrived(1)
    driven.front.drain()
    refused = driven.call(request()).exception(20)
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert driven.deliver(reply(driven.fly(block), 1)) == 1
    assert answer(call).model_name == "m"


def test_a_closed_front_ends_its_calls_and_gives_its_address_back(driven: Driven) -> None:
    call = driven.call(request())
    driven.arrived(1)
    driven.front.close()
    assert call.exception(20).code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(OSError, match="closed"):
        driven.front.listen("127.0.0.1:0", upstream="", role="data", tls=None)
    driven.front.close()


def test_an_address_that_is_taken_or_wrong_is_an_oserror(driven: Driven) -> None:
    for address in (driven.data, "127.0.0.1:99999", "no.such.host.invalid:1", "unix:/no/such/folder/socket"):
        with pytest.raises(OSError):
            driven.front.listen(address, upstream="", role="data", tls=None)


@pytest.fixture
def pems(tmp_path: Path) -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    cert, key = self_signed(tmp_path)
    return cert.read_bytes(), key.read_bytes()


def test_tls_serves_those_who_show_a_certificate(start: Start, pems: tuple[bytes, bytes]) -> None:
    cert, key = pems
    driven = start(tls=(cert, key, cert))
    method = "/inference.GRPCInferenceService/ModelInfer"
    known = grpc.secure_channel(driven.data, grpc.ssl_channel_credentials(cert, key, cert))
    call = known.unary_unary(method).future(request(id="a"), timeout=20)
    (block,) = driven.arrived(1)
    number = driven.fly(block)
    assert block.answer(0, 1, b"", []) == 1
    assert answer(call).id == "a"
    assert number
    for stranger in (
        grpc.insecure_channel(driven.data),
        grpc.secure_channel(driven.data, grpc.ssl_channel_credentials(cert)),
    ):
        refused = stranger.unary_unary(method).future(request(), timeout=5).exception()
        assert refused.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        stranger.close()
    known.close()


def test_the_client_checks_the_servers_name_and_authority(
    start: Start, pems: tuple[bytes, bytes], tmp_path: Path
) -> None:
    cert, key = pems
    driven = start(tls=(cert, key, cert))
    path = "/nnpm.api.worker.v1.WorkerService/RedeemPayload"
    client = Client(max_message_bytes=1 << 20)
    try:
        client.call(driven.mesh, path, [b""], 10, (cert, cert, key))
        assert turn_of(client)[0][1:3] == (9, "refused: claim_not_found")
        client.call(driven.mesh, path, [b""], 10, (cert, None, None))
        assert turn_of(client)[0][1] == 14
        client.call(driven.mesh.replace("127.0.0.1", "localhost"), path, [b""], 10, (cert, cert, key))
        assert turn_of(client)[0][1] == 9
        with pytest.raises(OSError):
            client.call(driven.mesh, path, [b""], 10, (b"no PEM", b"x", b"y"))
    finally:
        client.close()
