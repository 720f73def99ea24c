"""What the mesh stands on goes away: calls fail with a clear status in time, and work again once it is back."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import models
from support.mesh import Mesh
from support.minio_server import MinioServer
from support.redis_server import RedisServer
from support.tools import missing
from support.waiting import wait_until

UNAVAILABLE = 5
"""Exit code of the command line."""


def _infer(client: triton.InferenceServerClient, model: str, timeout: float) -> np.ndarray:
    given = triton.InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), dtype=np.float32))
    return client.infer(model, [given], client_timeout=timeout).as_numpy("y")


@pytest.fixture
def redis_mesh(tmp_path: Path, own_redis: RedisServer) -> Iterator[Mesh]:
    """A mesh on a Redis that is not its own to restart."""
    mesh = Mesh(tmp_path / "mesh", environment={"NNPM_REDIS_URL": own_redis.url})
    try:
        yield mesh.up()
    finally:
        own_redis.process.kill_group()
        mesh.down()


def test_redis_down_fails_calls_in_time_and_its_return_heals(
    redis_mesh: Mesh, own_redis: RedisServer, tmp_path: Path
) -> None:
    mesh = redis_mesh
    mesh.publish(models.save(models.linear(), tmp_path), "test/redis-down")
    mesh.deploy("test/redis-down")
    with triton.InferenceServerClient(mesh.scheduler) as client:
        assert _infer(client, "test/redis-down", 10).shape == (1, 3)
        own_redis.kill()
        wait_until(lambda: not client.is_server_ready(), 10, what="readiness turns off")
        begin = time.monotonic()
        with pytest.raises(InferenceServerException, match=r"(?i)redis|deadline") as refused:
            _infer(client, "test/redis-down", 3)
        assert time.monotonic() - begin < 20  # it asked for 3 s; the default would be 60
        assert refused.value.status() in {
            str(grpc.StatusCode.UNAVAILABLE),
            str(grpc.StatusCode.DEADLINE_EXCEEDED),
        }
        own_redis.start()
        wait_until(client.is_server_ready, 10, what="readiness turns on")
        wait_until(lambda: _infer(client, "test/redis-down", 5).shape == (1, 3), 15, what="inference works again")


@pytest.fixture
def own_minio(tmp_path: Path) -> Iterator[MinioServer]:
    server = MinioServer(tmp_path)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def minio_mesh(tmp_path: Path, own_minio: MinioServer) -> Iterator[Mesh]:
    """A mesh whose artifacts lie in MinIO."""
    mesh = Mesh(tmp_path / "mesh", environment=own_minio.settings(own_minio.make_bucket()))
    try:
        yield mesh.up()
    finally:
        mesh.down()


def test_minio_down_is_said_so_and_its_return_heals(minio_mesh: Mesh, own_minio: MinioServer, tmp_path: Path) -> None:
    mesh = minio_mesh
    first, second = (models.save(models.linear(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    mesh.publish(first, "test/minio", "1.0.0")
    own_minio.kill()
    done = mesh.cli(
        *("publish", str(second), "--name", "test/minio", "--version", "1.0.1", "--license", "MIT"),
        check=False,
        timeout=180,
    )
    assert done.returncode == UNAVAILABLE, done.stderr
    assert "Traceback" not in done.stderr
    assert "1.0.1" not in str(mesh.json("versions", "test/minio"))

    own_minio.start()
    wait_until(mesh.healthy, 20, what="the mesh is healthy again")
    mesh.publish(second, "test/minio", "1.0.1")
    mesh.cli("install", "test/minio@1.0.0", "--to", str(tmp_path / "installed"))
    (installed,) = (tmp_path / "installed").rglob("model.onnx")
    assert installed.read_bytes() == first.read_bytes()
    mesh.deploy("test/minio")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        missing(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_mesh(tmp_path: Path, small_disk: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path / "mesh", environment={"NNPM_ARTIFACT_STORE": (small_disk / "packs").as_uri()})
    try:
        yield mesh.up()
    finally:
        mesh.down()


def test_a_full_disk_is_said_so_and_what_fits_still_goes(small_mesh: Mesh, tmp_path: Path) -> None:
    mesh = small_mesh
    small = models.save(models.linear(), tmp_path / "small-model")
    mesh.publish(small, "test/fits", "1.0.0")
    large = models.external(tmp_path / "large-model", layers=4, layer_bytes=16 << 20)
    done = mesh.cli(
        *("publish", str(large), "--name", "test/too-large", "--version", "1.0.0", "--license", "MIT"),
        check=False,
        timeout=180,
    )
    assert done.returncode in (1, 4, UNAVAILABLE), done.stderr
    assert any(word in done.stderr.lower() for word in ("space", "disk full", "full")), done.stderr
    assert "Traceback" not in done.stderr
    mesh.cli("install", "test/fits", "--to", str(tmp_path / "installed"))
    (installed,) = (tmp_path / "installed").rglob("model.onnx")
    assert installed.read_bytes() == small.read_bytes()
