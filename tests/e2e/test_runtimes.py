"""Models that are no graphs: a package's class, with and without the operator's grant, and somebody else's runtime."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support.mesh import Mesh
from support.waiting import wait_until

PLUGIN = Path(__file__).parent.parent / "support" / "polynomial"
REFUSED = 4
"""Exit code of the command line."""

TENSORS = """
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 4]

[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 4]
"""

SOURCE = """
import os
from pathlib import Path

import numpy as np


class Scaled:
    def __init__(self, folder: Path) -> None:
        self.scale = np.load(folder / "scale.npy")

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = inputs["x"]
        if (x == 13).any():
            os.abort()
        if (x == 14).any():
            while True:
                pass
        if (x == 15).any():
            self.kept = np.ones(1 << 30)
        if (x == 16).any():
            raise ValueError("sixteen is not for me")
        return {"y": x * self.scale}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, installed by pip into a folder, as a person would into an environment."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(folder), str(PLUGIN)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def granting(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Mesh]:
    """A mesh whose one worker has the plugin, and runs the classes of `granted` within narrow limits."""
    folder = tmp_path_factory.mktemp("granting")
    path = os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH", ""))))
    mesh = Mesh(
        folder / "mesh",
        environment={
            "PYTHONPATH": path,
            "POLYNOMIAL_IMPORTS": str(folder / "imports"),
            "NNPM_WORKER_PYTHON_GRANTS": "granted/*",
            "NNPM_WORKER_PYTHON_MEMORY_BYTES": str(1 << 30),
            "NNPM_WORKER_PYTHON_RUN_SECONDS": "2",
        },
    )
    try:
        yield mesh.up()
    finally:
        mesh.down()


def _package(folder: Path, name: str, source: str = SOURCE, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nnpm.toml").write_text(
        f'name = "{name}"\nversion = "1.0.0"\nlicense = "MIT"\n'
        f'runtime = "python"\nentry = "net.scaled:Scaled"\n{more}{TENSORS}'
    )
    (folder / "net").mkdir(exist_ok=True)
    (folder / "net" / "scaled.py").write_text(source)
    np.save(folder / "scale.npy", np.array([1, 2, 3, 4], np.float32))
    return folder


@pytest.fixture(scope="module")
def scaled(granting: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A granted class, deployed: y = x * [1, 2, 3, 4]."""
    granting.cli("publish", str(_package(tmp_path_factory.mktemp("scaled"), "granted/scaled")))
    granting.deploy("granted/scaled")
    return "granted/scaled"


@pytest.fixture
def client(granting: Mesh) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(granting.scheduler) as client:
        yield client


def _infer(client: triton.InferenceServerClient, model: str, x: np.ndarray) -> np.ndarray:
    given = triton.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    return client.infer(model, [given], client_timeout=30).as_numpy("y")


def _rows(value: float, rows: int = 1) -> np.ndarray:
    return np.full((rows, 4), value, np.float32)


def _error(client: triton.InferenceServerClient, model: str, value: float) -> str:
    with pytest.raises(InferenceServerException) as refused:
        _infer(client, model, _rows(value))
    return f"{refused.value.status()} {refused.value.message()}"


def test_a_granted_class_is_served_to_any_client(client: triton.InferenceServerClient, scaled: str) -> None:
    metadata = client.get_model_metadata(scaled)
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("x", "FP32", [-1, 4])]
    random = np.random.default_rng(5)
    given = [random.standard_normal((rows, 4), dtype=np.float32) for rows in random.integers(1, 5, 100)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda x: _infer(client, scaled, x), given))
    for x, y in zip(given, found, strict=True):
        assert np.array_equal(y, x * np.array([1, 2, 3, 4], np.float32))


def test_requests_of_a_class_are_joined_where_the_probe_has_proven_it(
    client: triton.InferenceServerClient, scaled: str
) -> None:
    assert client.get_model_config(scaled).config.max_batch_size > 1


def test_a_class_that_denies_its_batch_axis_is_never_joined(
    granting: Mesh, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    source = SOURCE.replace("class Scaled:\n", 'class Scaled:\n    batch_axis = "none"\n')
    granting.cli("publish", str(_package(tmp_path, "granted/alone", source)))
    granting.deploy("granted/alone")
    assert client.get_model_config("granted/alone").config.max_batch_size <= 1
    assert np.array_equal(_infer(client, "granted/alone", _rows(1, 2))[0], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        (13, "INTERNAL", "SIGABRT"),
        (14, "INTERNAL", "longer than the 2 s"),
        (15, "RESOURCE_EXHAUSTED", "memory"),
        (16, "INVALID_ARGUMENT", "sixteen is not for me"),
    ],
    ids=["crash", "endless", "memory", "refusal"],
)
def test_what_a_class_does_to_one_request_it_does_to_no_other(
    client: triton.InferenceServerClient, granting: Mesh, scaled: str, value: float, status: str, said: str
) -> None:
    worker = granting.services()["worker-0"]["pid"]
    with ThreadPoolExecutor(9) as threads:
        bad = threads.submit(_error, client, scaled, value)
        good = [threads.submit(_infer, client, scaled, _rows(number)) for number in range(8)]
        error = bad.result(60)
        for number, answer in enumerate(good):
            assert np.array_equal(answer.result(60), _rows(number) * np.array([1, 2, 3, 4], np.float32))
    assert status in error
    assert said in error
    assert granting.services()["worker-0"]["pid"] == worker, "the worker lives on"


def test_a_class_that_always_crashes_is_unavailable_and_harms_no_other_model(
    granting: Mesh, client: triton.InferenceServerClient, scaled: str, tmp_path: Path
) -> None:
    source = SOURCE.replace("        x = inputs", "        os._exit(1)\n        x = inputs")
    granting.cli("publish", str(_package(tmp_path, "granted/doomed", source, 'batch_axis = "none"\n')))
    done = granting.cli("deploy", "granted/doomed", "--wait", check=False)
    errors = [done.stderr]
    if done.returncode == 0:
        wait_until(
            lambda: "UNAVAILABLE" in errors[-1] or errors.append(_error(client, "granted/doomed", 1)),
            30,
            what="the class is no longer started",
        )
    assert np.array_equal(_infer(client, scaled, _rows(1)), [[1, 2, 3, 4]])
    assert granting.healthy()


def test_a_class_without_a_grant_is_published_and_not_run(granting: Mesh, mesh: Mesh, tmp_path: Path) -> None:
    source = "raise SystemExit('imported without a grant')"
    for where, name in ((granting, "stranger/scaled"), (mesh, "granted/scaled")):
        where.cli("publish", str(_package(tmp_path, name, source)))
        done = where.cli("deploy", name, "--wait", "--json", check=False)
        assert done.returncode == REFUSED, done.stderr
        assert "RUNTIME_NOT_GRANTED" in done.stderr
        assert f"NNPM_WORKER_PYTHON_GRANTS={name}" in done.stderr
        where.cli("undeploy", name)


def test_a_class_whose_tensors_are_not_declared_is_not_published(granting: Mesh, tmp_path: Path) -> None:
    folder = _package(tmp_path, "granted/undeclared")
    (folder / "nnpm.toml").write_text((folder / "nnpm.toml").read_text().replace(TENSORS, ""))
    done = granting.cli("publish", str(folder), check=False)
    assert done.returncode == REFUSED
    assert "declare" in done.stderr


def test_a_runtime_of_somebody_elses_is_loaded_when_the_worker_starts_and_serves(
    granting: Mesh, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    imports = granting.data.parent / "imports"
    worker = granting.services()["worker-0"]["pid"]
    assert imports.read_text().split() == [str(worker), "True"], "imported once, by the main thread, before any package"
    (tmp_path / "model.json").write_text(json.dumps({"coefficients": [1, 0, 2]}))
    (tmp_path / "nnpm.toml").write_text(
        'name = "test/parabola"\nversion = "1.0.0"\nlicense = "MIT"\n'
        f'runtime = "polynomial"\nframework = "polynomial"\nmodel = "model.json"\n{TENSORS}'
    )
    granting.cli("publish", str(tmp_path))
    granting.deploy("test/parabola")
    assert np.array_equal(_infer(client, "test/parabola", _rows(3)), _rows(19))
    assert imports.read_text().split() == [str(worker), "True"]
