"""Workers come and go under load: a leaving one finishes what it has, and no call fails, wherever the replicas were."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from support import models
from support.mesh import Mesh
from support.processes import Process
from support.reference import Reference
from support.waiting import wait_until

CALLERS = 4


class Load:
    """Calls without a pause, from several connections; `right` counts the answers, any other end raises on leaving."""

    def __init__(self) -> None:
        self.right = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def call(self, scheduler: str, reference: Reference, seed: int) -> None:
        generator = np.random.default_rng(seed)
        with triton.InferenceServerClient(scheduler) as client:
            while not self.stop.is_set():
                x = generator.standard_normal((2, 4), np.float32)
                given = triton.InferInput("x", [2, 4], "FP32")
                given.set_data_from_numpy(x)
                answer = client.infer("test/linear", [given], client_timeout=20).as_numpy("y")
                np.testing.assert_allclose(answer, reference.run({"x": x})["y"], atol=1e-5)
                with self._lock:
                    self.right += 1

    def answered(self, count: int) -> None:
        """Wait for so many more answers."""
        target = self.right + count
        wait_until(lambda: self.right >= target, 60, what=f"{target} answers")


@contextmanager
def under_load(scheduler: str, reference: Reference) -> Iterator[Load]:
    load = Load()
    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(load.call, scheduler, reference, seed) for seed in range(CALLERS)]
        try:
            yield load
        finally:
            load.stop.set()
    for caller in callers:
        caller.result()


@pytest.mark.parametrize("replicas", [1, 3])
def test_workers_come_and_go_under_load_and_no_call_fails(replicas: int, tmp_path: Path) -> None:
    """From one worker to three and back to the youngest: what the others held moves while calls wait for it."""
    mesh = Mesh(tmp_path / "mesh", workers=0)
    workers: list[Process] = []

    def add_worker() -> None:
        name = f"extra-{len(workers)}"
        settings = {
            "NNPM_REDIS_URL": mesh.services()["redis"]["address"],
            "NNPM_ARTIFACT_ADDRESS": mesh.artifact,
            "NNPM_WORKER_NAME": name,
            "NNPM_WORKER_CACHE_DIR": str(tmp_path / "cache"),
        }
        workers.append(Process.service("nnpm_worker", tmp_path / name, settings).start())

    def ready_replicas() -> int:
        return int(mesh.json("ps")["deployments"][0]["ready_replicas"])

    try:
        mesh.up()
        add_worker()
        model = models.save(models.linear(), tmp_path)
        mesh.publish(model, "test/linear")
        mesh.deploy("test/linear", "--replicas", str(replicas))
        with under_load(mesh.scheduler, Reference(model)) as load:
            load.answered(50)
            add_worker()
            add_worker()
            wait_until(lambda: ready_replicas() == replicas, 30, what=f"{replicas} replicas are ready")
            load.answered(200)
            for leaving in workers[:2]:
                assert leaving.stop(15) == 0
                load.answered(50)
            load.answered(200)
        assert ready_replicas() == 1
    finally:
        for worker in workers:
            worker.stop(15)
        mesh.down()
