"""The ports of a mesh, and who has one that is taken."""

import os
import socket

import pytest

from nnpm.errors import FailedPrecondition, InvalidArgument
from nnpm.mesh.ports import Ports, listener_of, require_free


def test_the_ports_are_those_of_the_contract() -> None:
    assert Ports.from_base(None).all() == (8001, 8101, 8102, 8103)
    assert Ports.from_base(9000).all() == (9000, 9001, 9002, 9003)


def test_base_zero_finds_four_free_ports_in_a_row() -> None:
    ports = Ports.from_base(0).all()
    assert ports == tuple(range(ports[0], ports[0] + 4))
    require_free(ports)


@pytest.mark.parametrize("base", [-1, 65533, 70000])
def test_a_base_outside_the_range_is_refused(base: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Ports.from_base(base)
    assert caught.value.reason == "INVALID_SETTINGS"


def test_a_taken_port_is_named_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(FailedPrecondition) as caught:
            require_free([port])
        assert caught.value.reason == "PORT_TAKEN"
        assert f"port {port}" in caught.value.message
        assert f"pid {os.getpid()}" in caught.value.message
        assert listener_of(port).endswith(f"(pid {os.getpid()})")
    require_free([port])
    assert listener_of(port) == ""


def test_a_port_that_others_share_counts_as_taken() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(FailedPrecondition):
            require_free([server.getsockname()[1]])
