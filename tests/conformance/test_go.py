"""A Go program with stubs generated from protos/ lists packages, deploys and infers: no hand-written wire code."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from support import models
from support.mesh import Mesh
from support.reference import Reference
from support.tools import PROTOS, go, tool

PROGRAM = Path(__file__).parent / "go"
MODULE = "nnpm.test/conformance/api"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built program, from a copy of its source with the generated stubs beside it."""
    folder = tmp_path_factory.mktemp("go") / "conformance"
    shutil.copytree(PROGRAM, folder)
    generate(folder / "api")
    subprocess.run(
        [go(), "build", "-o", folder / "program", "."],
        cwd=folder,
        env=os.environ | {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"},
        check=True,
        timeout=280,
    )
    return folder / "program"


def generate(out: Path) -> None:
    """Go stubs of the public protos below `out`."""
    out.mkdir()
    protos = [
        path.relative_to(PROTOS)
        for pattern in ("inference/*.proto", "nnpm/api/registry/v1/*.proto", "nnpm/api/scheduler/v1/*.proto")
        for path in sorted(PROTOS.glob(pattern))
    ]
    packages = [f"M{proto}={MODULE}/{proto.parent}" for proto in protos]
    options = [f"--{plugin}_opt={option}" for plugin in ("go", "go-grpc") for option in (f"module={MODULE}", *packages)]
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}"),
            *(f"--plugin={name}={tool(name)}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")),
            *(f"--go_out={out}", f"--go-grpc_out={out}", *options, *map(str, protos)),
        ],
        cwd=PROTOS,
        check=True,
        timeout=60,
    )


def test_go_lists_packages_deploys_and_infers(program: Path, mesh: Mesh, tmp_path: Path) -> None:
    path = models.save(models.linear(seed=41), tmp_path)
    names = ["test/go", "test/go-b", "test/go-c"]
    for name in names:
        mesh.publish(path, name)
    done = subprocess.run(
        [
            program,
            *("-registry", mesh.registry, "-control", mesh.control, "-scheduler", mesh.scheduler),
            *("-package", "test/go"),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(names) <= set(found["packages"])
    assert len(found["packages"]) == len(set(found["packages"]))
    assert found["deployment"] == "test-go"
    assert found["model_version"] == "1.0.0"
    assert found["shape"] == [2, 3]
    x = np.array([[1, 2, 3, 4], [-1, 0, 1, 0.5]], dtype=np.float32)
    assert np.array_equal(np.array(found["output"], dtype=np.float32).reshape(2, 3), Reference(path).run({"x": x})["y"])
