"""kill -9 of any one process: healthy again by itself, nothing published lost, and publish, install and infer work."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from support import models
from support.mesh import Mesh
from support.waiting import wait_until

PROCESSES = ["redis", "registry", "artifact", "scheduler-0", "worker-0"]
RECOVERY = 20.0
"""Seconds. It takes two to three on a quiet machine; here other tests use the processors, too."""
X = np.ones((1, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def steady_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with a published and deployed model, shared by this module's killings."""
    folder = tmp_path_factory.mktemp("crashes")
    mesh = Mesh(folder / "mesh")
    try:
        mesh.up()
        mesh.publish(models.save(models.linear(), folder), "test/kept")
        mesh.deploy("test/kept")
        yield mesh
    finally:
        mesh.down()


@pytest.mark.xdist_group("crashes")  # they share a mesh
@pytest.mark.parametrize("name", PROCESSES)
def test_killed_process_comes_back_and_nothing_is_lost(steady_mesh: Mesh, name: str, tmp_path: Path) -> None:
    mesh = steady_mesh
    wait_until(mesh.healthy, 20)
    mesh.restarted(name, mesh.kill(name), RECOVERY)

    assert mesh.infer("test/kept", {"x": X}, tmp_path)["y"].shape == (1, 3)
    model = models.save(models.linear(seed=PROCESSES.index(name)), tmp_path)
    package = f"test/after-{name}"
    mesh.publish(model, package)
    mesh.cli("install", package, "--to", str(tmp_path / "installed"))
    (installed,) = (tmp_path / "installed").rglob("model.onnx")
    assert installed.read_bytes() == model.read_bytes()
    mesh.deploy(package)
    assert mesh.infer(package, {"x": X}, tmp_path)["y"].shape == (1, 3)
    listed = mesh.json("search", "test/kept")
    assert "test/kept" in str(listed)


def test_killed_supervisor_leaves_no_orphan_and_intact_data(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "mesh").up()
    mesh.publish(models.save(models.linear(), tmp_path), "test/kept")
    pids = [int(service["pid"]) for service in mesh.services().values()]
    (supervisor,) = {psutil.Process(pid).ppid() for pid in pids}
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 15, what="every process of the mesh is gone")
    try:
        mesh.up()
        assert "1.0.0" in str(mesh.json("versions", "test/kept"))
    finally:
        mesh.down()
