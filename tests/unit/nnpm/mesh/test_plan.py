"""What runs, with which settings, in which order."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument
from nnpm.mesh.data_folder import DataFolder
from nnpm.mesh.plan import MeshPlan, plan_mesh
from nnpm.mesh.ports import Ports
from nnpm.mesh.redis_server import RedisServer


def plan(data: Path, environ: Mapping[str, str] | None = None, workers: int = 2, redis: bool = True) -> MeshPlan:
    server = RedisServer(Path("/usr/bin/redis-server"), "redis-server", (7, 0, 15)) if redis else None
    ports = Ports.from_base(9000)
    folder = DataFolder.at(data)
    return plan_mesh(folder, run=data / "run", ports=ports, workers=workers, environ=environ or {}, redis=server)


def test_every_process_is_there_and_redis_comes_first(tmp_path: Path) -> None:
    tiers = plan(tmp_path).tiers
    assert [[process.name for process in tier] for tier in tiers] == [
        ["redis"],
        ["registry", "artifact", "scheduler-0", "worker-0", "worker-1"],
    ]


def test_the_listeners_are_those_of_the_contract(tmp_path: Path) -> None:
    addresses = {process.name: process.address for process in plan(tmp_path).processes()}
    assert addresses["scheduler-0"] == "127.0.0.1:9000"
    assert addresses["registry"] == "127.0.0.1:9001"
    assert addresses["artifact"] == "127.0.0.1:9002"
    scheduler = next(process for process in plan(tmp_path).processes() if process.name == "scheduler-0")
    assert scheduler.health_at == ("127.0.0.1:9000", "127.0.0.1:9003")
    assert scheduler.environment["NNPM_CONTROL_LISTEN"] == "127.0.0.1:9003"
    assert scheduler.environment["NNPM_MESH_LISTEN"] == f"unix:{tmp_path}/run/mesh-0.sock"


def test_every_service_knows_its_peers_and_redis(tmp_path: Path) -> None:
    for process in plan(tmp_path).tiers[1]:
        assert process.environment["NNPM_REDIS_URL"] == f"unix://{tmp_path}/run/redis.sock"
        assert process.environment["NNPM_SCHEDULER_ADDRESS"] == "127.0.0.1:9000"
        assert process.environment["NNPM_CONTROL_ADDRESS"] == "127.0.0.1:9003"
        assert process.environment["NNPM_REGISTRY_ADDRESS"] == "127.0.0.1:9001"
        assert process.environment["NNPM_ARTIFACT_ADDRESS"] == "127.0.0.1:9002"
        assert process.environment["NNPM_OTLP_ENDPOINT"] == f"unix:{tmp_path}/run/traces.sock"


def test_a_redis_that_runs_already_is_used_and_its_password_shown_to_nobody(tmp_path: Path) -> None:
    url = "redis://user:secret@redis.example:6379/0"
    made = plan(tmp_path, {"NNPM_REDIS_URL": url}, redis=False)
    assert "redis" not in [process.name for process in made.processes()]
    assert made.outside_redis == "redis://redis.example:6379/0"
    assert all(process.environment["NNPM_REDIS_URL"] == url for process in made.processes())


def test_stores_that_a_person_chose_stay(tmp_path: Path) -> None:
    chosen = {"NNPM_ARTIFACT_STORE": "s3://bucket", "NNPM_REGISTRY_DATABASE_URL": "postgresql://db/nnpm"}
    environment = {process.name: process.environment for process in plan(tmp_path, chosen).processes()}
    assert environment["artifact"]["NNPM_ARTIFACT_STORE"] == "s3://bucket"
    assert environment["registry"]["NNPM_REGISTRY_DATABASE_URL"] == "postgresql://db/nnpm"
    assert environment["scheduler-0"]["NNPM_SCHEDULER_DATABASE_URL"].endswith("/scheduler/scheduler.db")


def test_what_a_person_put_into_files_stays_there(tmp_path: Path) -> None:
    """The address of an outside Redis alone is read: health is asked there, too."""
    (tmp_path / "redis").write_text("redis://:secret@redis.example:6379/0\n")
    environ = {
        "NNPM_REDIS_URL_FILE": str(tmp_path / "redis"),
        "NNPM_REGISTRY_DATABASE_URL_FILE": "/secrets/registry",
        "NNPM_ARTIFACT_STORE_FILE": "/secrets/store",
    }
    chosen = plan(tmp_path, environ, redis=False)
    assert chosen.outside_redis == "redis://redis.example:6379/0"
    services = {process.name: process.environment for process in chosen.processes()}
    for environment in services.values():
        assert environment["NNPM_REDIS_URL"] == "redis://:secret@redis.example:6379/0"
        assert "NNPM_REDIS_URL_FILE" not in environment
    assert "NNPM_REGISTRY_DATABASE_URL" not in services["registry"]
    assert services["registry"]["NNPM_REGISTRY_DATABASE_URL_FILE"] == "/secrets/registry"
    assert "NNPM_ARTIFACT_STORE" not in services["artifact"]


def test_a_certificate_without_its_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="NNPM_TLS_CA"):
        plan(tmp_path, {"NNPM_TLS_CERT": "cert.pem", "NNPM_TLS_KEY": "key.pem"})


def test_the_trace_receiver_a_person_chose_gets_the_traces_by_way_of_the_ring(tmp_path: Path) -> None:
    made = plan(tmp_path, {"NNPM_OTLP_ENDPOINT": "http://collector:4317"})
    assert made.forward == "http://collector:4317"
    assert made.tiers[1][0].environment["NNPM_OTLP_ENDPOINT"] == made.addresses.traces


def test_each_process_has_a_metrics_port_of_its_own(tmp_path: Path) -> None:
    made = plan(tmp_path, {"NNPM_METRICS_LISTEN": "127.0.0.1:9100"})
    assert [process.metrics for process in made.tiers[1]] == [f"127.0.0.1:{9100 + number}" for number in range(5)]
    assert [process.metrics for process in plan(tmp_path).tiers[1]] == [""] * 5


@pytest.mark.parametrize("workers", [-1, 1000])
def test_an_impossible_number_of_workers_is_refused(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InvalidArgument):
        plan(tmp_path, workers=workers)
