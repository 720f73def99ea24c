"""A mesh whose replicas sleep, so that not processors decide but who is let in, and when."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nnpm
from benchmarks import sleeper
from benchmarks.peers.mesh import Mesh
from benchmarks.processes import StartError
from benchmarks.workbench import Workbench


@contextmanager
def sleeping_mesh(scratch: Path, transport: str, workers: int, **settings: str) -> Iterator[str]:
    """Where a mesh with so many workers takes calls; each has one replica, which runs one request at a time."""
    bench = Workbench(scratch, scratch, {}, _none, _none)
    environment = {"PYTHONPATH": str(sleeper.RUNTIMES), **settings}
    mesh = Mesh(bench, "mesh", transport=transport, copies=workers, models=(), environment=environment)
    try:
        mesh.start()
        with nnpm.Client(mesh.data) as client:
            sleeper.publish(client, bench.folder("package"))
            sleeper.deploy(client, workers)
        yield mesh.address
    finally:
        mesh.stop()


def _none(*_: object) -> Path:
    raise StartError("no peers are measured here")
