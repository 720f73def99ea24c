"""`nnpm health` says of one service, by its exit code, whether it serves: what containers' health checks run."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from nnpm.cli import main
from support.mesh import Mesh
from support.ports import free_port


class Listener:
    """A gRPC server that answers nothing but health."""

    def __init__(self) -> None:
        self._health = HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait(5)

    def say(self, serving: bool) -> None:
        answer = health_pb2.HealthCheckResponse
        self._health.set("", answer.SERVING if serving else answer.NOT_SERVING)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", ""])
def test_the_service_beside_us_is_asked_where_it_listens(
    listener: Listener, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNPM_REGISTRY_LISTEN", f"{host}:{listener.port}")
    listener.say(serving=True)
    assert main(["health", "registry"]) == 0
    listener.say(serving=False)
    assert main(["health", "registry"]) == 5


def test_nobody_there_is_told_with_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert main(["health", "artifact", "--address", address, "--json"]) == 5
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["reason"] == "NOT_SERVING"
    assert error["metadata"] == {"service": "artifact", "address": address}


def test_a_scheduler_serves_when_both_of_its_doors_do(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Listener()
    control.start()
    try:
        monkeypatch.setenv("NNPM_SCHEDULER_LISTEN", f"0.0.0.0:{listener.port}")
        monkeypatch.setenv("NNPM_CONTROL_LISTEN", f"0.0.0.0:{control.port}")
        for inference, deployments, expected in ((True, True, 0), (True, False, 5), (False, True, 5)):
            listener.say(serving=inference)
            control.say(serving=deployments)
            assert main(["health", "scheduler"]) == expected
    finally:
        control.stop()


def test_a_worker_that_answers_nowhere_is_named_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NNPM_WORKER_LISTEN", raising=False)
    assert main(["health", "worker"]) == 4
    assert "NNPM_WORKER_LISTEN" in capsys.readouterr().err


def test_a_service_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "broker"]) == 2
    assert "registry" in capsys.readouterr().err


def test_the_services_of_a_mesh_are_found_as_clients_find_them(mesh: Mesh) -> None:
    for service in ("registry", "artifact", "scheduler"):
        mesh.cli("health", service, "--data", str(mesh.data))
