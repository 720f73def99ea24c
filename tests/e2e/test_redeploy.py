"""Redeploying under a steady trickle of calls: no call fails, and each reply names the version that answered."""

import threading
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import models
from support.mesh import Mesh
from support.waiting import wait_until

INTERVAL = 0.01


class Trickle:
    """Two threads that call one model every 10 ms; notes (version said, version computed) or the failure of each."""

    def __init__(self, address: str, model: str) -> None:
        self._address, self._model = address, model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(2)]
        self.answers: list[tuple[str, float]] = []
        self.failures: list[InferenceServerException] = []

    def __enter__(self) -> "Trickle":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def versions(self) -> list[str]:
        return list(dict.fromkeys(version for version, _ in self.answers))

    def _call(self) -> None:
        given = triton.InferInput("x", [1, 1], "FP32")
        given.set_data_from_numpy(np.zeros((1, 1), dtype=np.float32))
        with triton.InferenceServerClient(self._address) as client:
            while not self._stop.wait(INTERVAL):
                try:
                    answer = client.infer(self._model, [given], client_timeout=20)
                except InferenceServerException as error:
                    self.failures.append(error)
                else:
                    self.answers.append((answer.get_response().model_version, float(answer.as_numpy("y")[0, 0])))


def test_redeploy_drops_no_call(mesh: Mesh, tmp_path: Path) -> None:
    versions = ["1.0.0", "2.0.0", "3.0.0"]
    for version in versions:
        model = models.save(models.constant_version(float(version[0])), tmp_path / version)
        mesh.publish(model, "test/redeployed", version)
    mesh.deploy("test/redeployed@1.0.0")
    with Trickle(mesh.scheduler, "test/redeployed") as trickle:
        wait_until(lambda: len(trickle.answers) > 20, 20)
        for version in versions[1:]:
            mesh.deploy(f"test/redeployed@{version}")
            asked = time.monotonic()
            wait_until(lambda version=version: trickle.answers[-1][0] == version, 10, what=f"{version} answers")
            assert time.monotonic() - asked < 10
        before = len(trickle.answers)
        wait_until(lambda: len(trickle.answers) > before + 20, 20)
    assert not trickle.failures, trickle.failures[:3]
    assert trickle.versions == versions
    assert all(float(version[0]) == value for version, value in trickle.answers)
