"""The scheduler as a process: how it starts, says that it is ready, refuses to start, and stops."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from support.ports import free_ports
from support.processes import Process
from support.redis_server import RedisServer
from support.waiting import wait_until

Start = Callable[..., tuple[Process, str, str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(redis_url, **settings)`: the process, its data address and its control address."""
    processes: list[Process] = []

    def start(redis_url: str, **settings: str) -> tuple[Process, str, str]:
        port = free_ports(2)
        data, control = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        environment = {
            "NNPM_REDIS_URL": redis_url,
            "NNPM_SCHEDULER_LISTEN": data,
            "NNPM_CONTROL_LISTEN": control,
            "NNPM_MESH_LISTEN": f"unix:{tmp_path}/mesh.sock",
            "NNPM_SCHEDULER_DATABASE_URL": f"sqlite:///{tmp_path}/scheduler.db",
        }
        environment |= {f"NNPM_{name.upper()}": value for name, value in settings.items()}
        process = Process.service("nnpm_scheduler", tmp_path / f"scheduler-{len(processes)}.log", environment)
        processes.append(process.start())
        return process, data, control

    yield start
    for process in processes:
        process.kill_group()


def health(address: str, service: str = "") -> str:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def ended(process: Process) -> int:
    wait_until(lambda: process.returncode is not None, 20, what="the process ends")
    assert process.returncode is not None
    return process.returncode


def test_it_is_ready_under_each_services_name_and_stops_with_zero(start: Start, redis_url: str) -> None:
    process, data, control = start(redis_url)
    wait_until(lambda: health(data) == "SERVING", 20)
    assert health(data, "inference.GRPCInferenceService") == "SERVING"
    assert health(control, "nnpm.api.scheduler.v1.DeploymentService") == "SERVING"
    os.kill(process.pid, signal.SIGTERM)
    assert ended(process) == 0
    assert "Traceback" not in process.output


def test_it_starts_without_redis_and_is_ready_once_redis_is_there(start: Start, own_redis: RedisServer) -> None:
    own_redis.kill()
    process, data, _ = start(own_redis.url)
    wait_until(lambda: health(data) == "NOT_SERVING", 20)
    wait_until(lambda: "Redis does not answer" in process.output)
    own_redis.start()
    wait_until(lambda: health(data) == "SERVING", 5)
    own_redis.kill()
    wait_until(lambda: health(data) == "NOT_SERVING", 5)
    own_redis.start()
    wait_until(lambda: health(data) == "SERVING", 5)
    os.kill(process.pid, signal.SIGTERM)
    assert ended(process) == 0


def test_it_stops_while_it_waits_for_redis(start: Start) -> None:
    process, data, _ = start("unix:///nowhere/redis.sock")
    wait_until(lambda: health(data) == "NOT_SERVING", 20)
    os.kill(process.pid, signal.SIGTERM)
    assert ended(process) == 0


def test_it_refuses_a_redis_that_evicts_with_one_line(start: Start, own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    process, _, _ = start(own_redis.url)
    assert ended(process) == 1
    assert "allkeys-lru" in process.output
    assert "hint: set maxmemory-policy to noeviction" in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scheduler_listen": "0.0.0.0:0"}, "LISTEN_NOT_LOOPBACK"),
        ({"scheduler_timeout_seconds": "-1"}, "NNPM_SCHEDULER_TIMEOUT_SECONDS"),
        ({"mesh_listen": "127.0.0.1:0"}, "NNPM_MESH_LISTEN"),
    ],
)
def test_it_refuses_settings_that_are_wrong_with_one_line(
    start: Start, redis_url: str, settings: dict[str, str], says: str
) -> None:
    process, _, _ = start(redis_url, **settings)
    assert ended(process) == 1
    assert says in process.output
    assert "Traceback" not in process.output


def test_it_refuses_an_address_that_is_in_use(start: Start, redis_url: str, tmp_path: Path) -> None:
    _, data, _ = start(redis_url)
    wait_until(lambda: health(data) == "SERVING", 20)
    second, _, _ = start(
        redis_url,
        scheduler_listen=data,
        mesh_listen=f"unix:{tmp_path}/second.sock",
        scheduler_database_url=f"sqlite:///{tmp_path}/second.db",
    )
    assert ended(second) == 1
    assert "ADDRESS_IN_USE" in second.output


def test_reflection_lists_the_inference_protocol(start: Start, redis_url: str) -> None:
    _, data, _ = start(redis_url)
    wait_until(lambda: health(data) == "SERVING", 20)
    with grpc.insecure_channel(data) as channel:
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=5))
    assert "inference.GRPCInferenceService" in {s.name for s in answer.list_services_response.service}
