"""kill -9 of a worker with requests in flight: each is answered by another, or fails clearly before its deadline."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import models
from support.mesh import Mesh
from support.runtimes.nnpm_test_runtimes import LETHAL
from support.waiting import wait_until

RUNTIMES = Path(__file__).parent.parent / "support" / "runtimes"
DEADLINE = 20.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh with two workers that know the test runtimes."""
    path = os.pathsep.join(filter(None, (str(RUNTIMES), os.environ.get("PYTHONPATH", ""))))
    mesh = Mesh(tmp_path / "mesh", workers=2, environment={"PYTHONPATH": path})
    try:
        yield mesh.up()
    finally:
        mesh.down()


def _deploy(mesh: Mesh, runtime: str, folder: Path) -> str:
    """A package that the named runtime executes, on both workers."""
    models.save(models.identity(shape=("n", 1)), folder)
    (folder / "nnpm.toml").write_text(
        f'name = "test/{runtime}"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        f'model = "model.onnx"\nruntime = "{runtime}"\nbatch_axis = "none"\n'
    )
    mesh.cli("publish", str(folder))
    mesh.deploy(f"test/{runtime}", "--replicas", "2")
    wait_until(
        lambda: mesh.json("ps")["deployments"][0]["ready_replicas"] == 2, 20, what=f"{runtime} is ready on both workers"
    )
    return f"test/{runtime}"


def _infer(client: triton.InferenceServerClient, model: str, value: float) -> float | InferenceServerException:
    """The answer, or the error."""
    given = triton.InferInput("x", [1, 1], "FP32")
    given.set_data_from_numpy(np.array([[value]], dtype=np.float32))
    try:
        return float(client.infer(model, [given], client_timeout=DEADLINE).as_numpy("y")[0, 0])
    except InferenceServerException as error:
        return error


def test_requests_of_a_killed_worker_are_answered_by_the_other(pair: Mesh, tmp_path: Path) -> None:
    model = _deploy(pair, "sleep", tmp_path / "sleep")
    seconds = [0.2 + number / 1000 for number in range(24)]
    begin = time.monotonic()
    with triton.InferenceServerClient(pair.scheduler) as client, ThreadPoolExecutor(24) as threads:
        answers = [threads.submit(_infer, client, model, value) for value in seconds]
        wait_until(lambda: sum(answer.done() for answer in answers) >= 2, 10, what="both workers are at it")
        killed = pair.kill("worker-0")
        got = [answer.result(DEADLINE + 5) for answer in answers]
    assert time.monotonic() - begin < DEADLINE
    failed = [answer for answer in got if isinstance(answer, InferenceServerException)]
    assert not failed, failed
    assert np.allclose(got, seconds)
    pair.restarted("worker-0", killed, 10)


def test_a_request_that_kills_its_worker_twice_is_answered_so_and_the_others_live(pair: Mesh, tmp_path: Path) -> None:
    model = _deploy(pair, "kill", tmp_path / "kill")
    with triton.InferenceServerClient(pair.scheduler) as client, ThreadPoolExecutor(9) as threads:
        poison = threads.submit(_infer, client, model, LETHAL)
        others = [threads.submit(_infer, client, model, float(value)) for value in range(8)]
        said = poison.result(DEADLINE + 5)
        assert [other.result(DEADLINE + 5) for other in others] == [float(value) for value in range(8)]
        assert isinstance(said, InferenceServerException)
        assert "INTERNAL" in str(said.status()), said
        wait_until(pair.healthy, 15, what="both workers are back")
        wait_until(lambda: _infer(client, model, 1.0) == 1.0, 15, what="the model is served again")
