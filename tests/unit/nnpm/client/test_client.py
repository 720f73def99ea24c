import subprocess
import sys
import threading
from pathlib import Path

import pytest

import nnpm
from nnpm.errors import NotFound, Unavailable
from support.ports import free_port


def closed_port() -> str:
    return f"127.0.0.1:{free_port()}"


def test_addresses_that_are_given_are_taken() -> None:
    with nnpm.Client(scheduler="a:1", control="b:2", registry="c:3", artifact="d:4") as client:
        found = client._client.addresses
    assert (found.scheduler, found.control, found.registry, found.artifact) == ("a:1", "b:2", "c:3", "d:4")


def test_nobody_there_is_unavailable_and_says_where() -> None:
    address = closed_port()
    with nnpm.Client(registry=address) as client, pytest.raises(Unavailable) as caught:
        client.search("x")
    assert address in str(caught.value)


def test_a_folder_without_a_mesh_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        nnpm.Client(tmp_path)
    assert caught.value.reason == "MESH_NOT_RUNNING"
    assert str(tmp_path) in str(caught.value)


def test_closing_ends_its_thread_and_twice_is_fine(tmp_path: Path) -> None:
    client = nnpm.Client(registry=closed_port())
    with pytest.raises(NotFound):
        client.publish(tmp_path / "missing.onnx", name="acme/x", version="1.0.0", license="MIT")
    client.close()
    client.close()
    assert "nnpm-client" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(RuntimeError):
        client.search()


def test_importing_nnpm_loads_no_grpc() -> None:
    program = "import sys, nnpm; sys.exit('grpc' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0
