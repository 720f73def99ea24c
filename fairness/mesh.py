"""A mesh whose replicas sleep, so that not processors decide but who is let in, and when."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

import nnpm
from benchmarks.peers.mesh import Mesh
from benchmarks.processes import StartError
from benchmarks.workbench import Workbench
from fairness.load import MODEL

RUNTIMES = Path(__file__).resolve().parent.parent / "tests" / "support" / "runtimes"
"""Holds the runtime `sleep`: it answers after as many seconds as its input says."""
MANIFEST = f"""name = "fairness/{MODEL}"
version = "1.0.0"
license = "Apache-2.0"
model = "model.onnx"
runtime = "sleep"
batch_axis = "none"
"""
GRAPH = '<ir_version: 9, opset_import: ["": 17]> sleeper (float[n, 1] x) => (float[n, 1] y) { y = Identity(x) }'
READY_SECONDS = 120.0


@contextmanager
def sleeping_mesh(scratch: Path, transport: str, workers: int, **settings: str) -> Iterator[str]:
    """Where a mesh with so many workers takes calls; each has one replica, which runs one request at a time."""
    bench = Workbench(scratch, scratch, {}, _none, _none)
    environment = {"PYTHONPATH": str(RUNTIMES), **settings}
    mesh = Mesh(bench, "mesh", transport=transport, copies=workers, models=(), environment=environment)
    try:
        mesh.start()
        with nnpm.Client(mesh.data) as client:
            client.publish(_package(bench.folder("package")))
            client.deploy(
                f"fairness/{MODEL}@^1",
                name=MODEL,
                replicas=workers,
                batching=nnpm.Batching(max_batch_size=1),
                wait=True,
            )
            until = time.monotonic() + READY_SECONDS
            while client.deployment(MODEL).ready_replicas < workers:
                if time.monotonic() > until:
                    raise StartError(f"{workers} replicas are not ready after {READY_SECONDS:g} s")
                time.sleep(0.2)
        yield mesh.address
    finally:
        mesh.stop()


def _package(folder: Path) -> Path:
    onnx.save(onnx.parser.parse_model(GRAPH), folder / "model.onnx")
    (folder / "nnpm.toml").write_text(MANIFEST)
    return folder


def _none(*_: object) -> Path:
    raise StartError("no peers are measured here")
