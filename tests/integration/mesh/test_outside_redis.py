"""A mesh on a Redis that runs already: named by NNPM_REDIS_URL, used, shown, and left alone."""

from pathlib import Path

from support.mesh import Mesh
from support.redis_server import RedisServer


def test_a_redis_named_by_the_environment_is_used_and_outlives_the_mesh(tmp_path: Path, redis_url: str) -> None:
    mesh = Mesh(tmp_path / "data", workers=0, environment={"NNPM_REDIS_URL": redis_url}).up()
    try:
        services = mesh.services()
        assert list(services) == ["redis", "registry", "artifact", "scheduler-0"]
        assert services["redis"] == {"name": "redis", "pid": None, "address": redis_url, "healthy": True}
        assert not (mesh.data / "logs" / "redis.log").exists()
    finally:
        mesh.down()
    assert not mesh.healthy()


def test_status_says_when_that_redis_is_gone(tmp_path: Path, own_redis: RedisServer) -> None:
    mesh = Mesh(tmp_path / "data", workers=0, environment={"NNPM_REDIS_URL": own_redis.url}).up()
    try:
        own_redis.kill()
        assert not mesh.services()["redis"]["healthy"]
        assert not mesh.healthy()
    finally:
        mesh.down()
