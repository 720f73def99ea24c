"""Publishing 2 GiB, killed at random points: it resumes, sends no stored byte again beyond a pack, the digest is right.

A second version with one changed layer sends that layer's chunks only. Garbage is collected all the while.
"""

import contextlib
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from nnpm.api.artifact.v1 import artifact_pb2, artifact_pb2_grpc
from support import models
from support.counting_proxy import CountingProxy
from support.files import sha256
from support.mesh import Mesh
from support.waiting import wait_until

MIB = 1 << 20
LAYERS, LAYER_BYTES = 16, 128 * MIB
SIZE = LAYERS * LAYER_BYTES
PACK = 32 * MIB
INTERRUPTIONS = 5
OVERHEAD = SIZE // 50
"""Digests, recipes and HTTP/2 frames."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose gigabytes are gone after the test, whatever pytest keeps."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def collected_mesh(folder: Path) -> Iterator[Mesh]:
    """A mesh in which garbage is collected all the while, and at once."""
    mesh = Mesh(folder / "mesh", environment={"NNPM_ARTIFACT_GARBAGE_GRACE_SECONDS": "0"})
    try:
        mesh.up()
        with _collecting(mesh.artifact):
            yield mesh
    finally:
        mesh.down()


@contextlib.contextmanager
def _collecting(address: str) -> Iterator[None]:
    stop = threading.Event()
    failures: list[grpc.RpcError] = []

    def collect() -> None:
        with grpc.insecure_channel(address) as channel:
            artifact = artifact_pb2_grpc.ArtifactServiceStub(channel)
            while not stop.wait(0.5):
                try:
                    artifact.CollectGarbage(artifact_pb2.CollectGarbageRequest(), timeout=60)
                except grpc.RpcError as error:
                    failures.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(70)
    assert not failures, failures[0]


def _publish(mesh: Mesh, proxy: CountingProxy, model: Path, version: str) -> "subprocess.Popen[bytes]":
    """`nnpm publish` with its uploads going through the proxy."""
    environment = mesh.environment
    del environment["NNPM_DATA"]
    environment |= {
        "NNPM_REGISTRY_ADDRESS": mesh.registry,
        "NNPM_ARTIFACT_ADDRESS": proxy.address,
        "NNPM_SCHEDULER_ADDRESS": mesh.scheduler,
        "NNPM_CONTROL_ADDRESS": mesh.control,
    }
    return subprocess.Popen(
        mesh.command(
            *("publish", str(model), "--name", "large/resumed", "--version", version, "--license", "Apache-2.0")
        ),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _finish(process: "subprocess.Popen[bytes]") -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def _installed(mesh: Mesh, version: str, to: Path) -> str:
    """The SHA-256 of the weights as they are installed."""
    mesh.cli("install", f"large/resumed@{version}", "--to", str(to), timeout=300)
    (weights,) = to.rglob("weights.bin")
    digest = sha256(weights)
    shutil.rmtree(to)
    return digest


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("gigabytes")  # one after the other: disk
def test_resumes_and_sends_only_what_is_missing(collected_mesh: Mesh, folder: Path) -> None:
    mesh = collected_mesh
    model = models.external(folder / "model", LAYERS, LAYER_BYTES)
    weights = model.parent / "weights.bin"
    source = random.Random(7)

    with CountingProxy(mesh.artifact) as proxy:
        for _ in range(INTERRUPTIONS):
            target = proxy.sent + source.randrange(SIZE // 50, SIZE // (INTERRUPTIONS + 1))
            with _publish(mesh, proxy, model, "1.0.0") as process:
                wait_until(
                    lambda target=target, process=process: proxy.sent >= target or process.poll() is not None,
                    120,
                    what=f"{target} bytes sent",
                )
                process.kill()
        _finish(_publish(mesh, proxy, model, "1.0.0"))
        # each time a pack that was being filled, and what was on its way into it
        assert proxy.sent < SIZE + INTERRUPTIONS * 2 * PACK + OVERHEAD
    assert _installed(mesh, "1.0.0", folder / "first") == sha256(weights)

    with weights.open("r+b") as file:
        file.seek(5 * LAYER_BYTES)
        models.write_layer(file, LAYER_BYTES // 4, seed=99)
    with CountingProxy(mesh.artifact) as proxy:
        _finish(_publish(mesh, proxy, model, "1.0.1"))
        assert LAYER_BYTES * 0.9 < proxy.sent < LAYER_BYTES + 2 * MIB + OVERHEAD // 4
    assert _installed(mesh, "1.0.1", folder / "second") == sha256(weights)
