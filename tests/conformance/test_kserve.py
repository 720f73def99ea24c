"""KServe's own gRPC client against the scheduler. It runs in an environment of its own, which scripts/test makes:
its protobuf package `inference` and tritonclient's cannot share a process."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import models
from support.mesh import Mesh
from support.reference import Reference, differences
from support.tools import TOOLS, missing

PROGRAM = Path(__file__).parent / "kserve_program.py"


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has kserve."""
    found = TOOLS / "venvs" / "kserve" / "bin" / "python"
    return found if found.exists() else missing("no environment with kserve; `scripts/test` makes one")


def _run(python: Path, mesh: Mesh, command: str, *arguments: str) -> Any:
    done = subprocess.run(
        [python, PROGRAM, command, mesh.scheduler, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_live_ready_metadata_and_infer(
    python: Path, mesh: Mesh, serve: Callable[..., tuple[str, Path]], tmp_path: Path
) -> None:
    package, path = serve(models.linear(seed=11), "kserve")
    x = np.random.default_rng(11).standard_normal((2, 4), dtype=np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    said = _run(python, mesh, "infer", package, str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz"))
    assert said["live"]
    assert said["ready"]
    assert said["model_ready"]
    assert said["server_name"]
    assert said["versions"] == ["1.0.0"]
    assert said["inputs"] == [["x", "FP32", [-1, 4]]]
    assert said["model_version"] == "1.0.0"
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert not differences(Reference(path).run({"x": x}), dict(outputs))


def test_typed_contents_answer_the_same_as_raw(
    python: Path, mesh: Mesh, serve: Callable[..., tuple[str, Path]], tmp_path: Path
) -> None:
    package, path = serve(models.linear(seed=12), "kserve-typed")
    x = np.random.default_rng(12).standard_normal((2, 4), dtype=np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    _run(python, mesh, "infer-typed", package, str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz"))
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert not differences(Reference(path).run({"x": x}), dict(outputs))


def test_unload_and_load_with_kserves_numbering(
    python: Path, mesh: Mesh, serve: Callable[..., tuple[str, Path]]
) -> None:
    package, _ = serve(models.linear(seed=13), "kserve-load")
    said = _run(python, mesh, "reload", package.replace("/", "-"))
    assert said == {
        "unloaded": True,
        "unloaded_name": package.replace("/", "-"),
        "ready_between": False,
        "loaded": True,
        "loaded_name": package.replace("/", "-"),
        "ready_after": True,
    }
