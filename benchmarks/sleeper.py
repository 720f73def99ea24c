"""A model whose runs take time and no processor: it sleeps for as many seconds as its input says."""

import time
from pathlib import Path

import onnx

import nnpm
from benchmarks.models import Model
from benchmarks.processes import StartError

RUNTIMES = Path(__file__).resolve().parent.parent / "tests" / "support" / "runtimes"
"""Holds its runtime; to be on the worker's PYTHONPATH."""

SLEEPER = Model("sleeper", "sleeps as long as its input says", lambda: b"", "x", "y", (1,))
_PACKAGE = f"bench/{SLEEPER.name}"
_MANIFEST = f"""name = "{_PACKAGE}"
version = "1.0.0"
license = "Apache-2.0"
model = "model.onnx"
runtime = "sleep"
batch_axis = "none"
"""
_GRAPH = '<ir_version: 9, opset_import: ["": 17]> sleeper (float[n, 1] x) => (float[n, 1] y) { y = Identity(x) }'
_READY_SECONDS = 120.0


def publish(client: nnpm.Client, folder: Path) -> None:
    """Once a mesh; `folder` is empty."""
    onnx.save(onnx.parser.parse_model(_GRAPH), folder / "model.onnx")
    (folder / "nnpm.toml").write_text(_MANIFEST)
    client.publish(folder)


def deploy(client: nnpm.Client, replicas: int) -> None:
    """Return once so many replicas are ready, each of which runs one request at a time. Raises StartError."""
    name = SLEEPER.name
    client.deploy(f"{_PACKAGE}@^1", name=name, replicas=replicas, batching=nnpm.Batching(max_batch_size=1), wait=True)
    until = time.monotonic() + _READY_SECONDS
    while client.deployment(name).ready_replicas < replicas:
        if time.monotonic() > until:
            raise StartError(f"{replicas} replicas are not ready after {_READY_SECONDS:g} s")
        time.sleep(0.2)
