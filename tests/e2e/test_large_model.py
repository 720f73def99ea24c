"""A 3 GiB model with external data is published, installed, loaded and inferred in bounded memory."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support import models
from support.files import sha256
from support.mesh import Mesh

MIB = 1 << 20
LAYERS, LAYER_BYTES = 12, 256 * MIB
MODEL_BYTES = LAYERS * LAYER_BYTES
CLIENT_LIMIT = 300 * MIB
SERVICE_LIMIT = 400 * MIB  # two parts of an upload at a time: the artifact service was seen at 326 MiB under load
WORKER_LIMIT = MODEL_BYTES + 500 * MIB


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose gigabytes are gone after the test, whatever pytest keeps."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def large_mesh(folder: Path) -> Iterator[Mesh]:
    mesh = Mesh(folder / "mesh")
    try:
        yield mesh.up()
    finally:
        mesh.down()


def _peak(pid: int) -> int:
    """The most memory that a process has had resident, in bytes, mapped files included."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _run(mesh: Mesh, *arguments: str) -> int:
    """Run one `nnpm` command; the most memory that it had resident, in bytes."""
    process = subprocess.Popen(
        mesh.command(*arguments), env=mesh.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"nnpm {arguments[0]} exited {process.returncode}\n{mesh.logs()}"
    return usage.ru_maxrss * 1024


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("gigabytes")  # one after the other: disk
def test_three_gib_go_through_in_bounded_memory(large_mesh: Mesh, folder: Path) -> None:
    mesh = large_mesh
    model = models.external(folder / "model", LAYERS, LAYER_BYTES)
    weights = sha256(model.parent / "weights.bin")

    publish = _run(
        mesh, "publish", str(model), "--name", "large/model", "--version", "1.0.0", "--license", "Apache-2.0"
    )
    assert publish < CLIENT_LIMIT
    shutil.rmtree(model.parent)

    assert _run(mesh, "install", "large/model", "--to", str(folder / "installed")) < CLIENT_LIMIT
    (installed,) = (folder / "installed").rglob("weights.bin")
    assert sha256(installed) == weights
    shutil.rmtree(folder / "installed")

    mesh.deploy("large/model", timeout=300)
    x = np.ones((1, 1024), dtype=np.float32)
    answer = mesh.infer("large/model", {"x": x}, folder)["y"]
    assert answer.shape == (1, 1)
    assert np.isfinite(answer).all()

    peaks = {name: _peak(int(service["pid"])) for name, service in mesh.services().items()}
    for name in ("registry", "artifact", "scheduler-0", "redis"):
        assert peaks[name] < SERVICE_LIMIT, peaks
    assert peaks["worker-0"] < WORKER_LIMIT, peaks
