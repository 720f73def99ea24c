"""Mosec: a Rust front with HTTP/1.1, and Python workers."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import proc_stat, prometheus
from benchmarks.counts import Counts
from benchmarks.load_run import LoadError, Target
from benchmarks.models import Model, Tensor
from benchmarks.points import ONE, Point
from benchmarks.ports import free_port
from benchmarks.processes import Program, plain_environment
from benchmarks.workbench import Workbench

VERSION = "0.9.8"
PROGRAM = Path(__file__).with_name("programs") / "mosec_server.py"


class Mosec:
    """One server with a route for each model."""

    def __init__(self, bench: Workbench, name: str, *, copies: int, models: Sequence[str]) -> None:
        self.name = name
        self._bench = bench
        self._copies = copies
        self._models = models
        self._folder = bench.folder(name.replace(" ", "-"))
        self._url = f"http://127.0.0.1:{free_port()}"
        self._program: Program | None = None

    @property
    def settings(self) -> str:
        return (
            f"Mosec {VERSION}, ONNX Runtime, one intra-op thread, HTTP/1.1, raw tensors, batches of 64, 1 ms wait, "
            f"{self._copies} worker{'s' if self._copies > 1 else ''} a model"
        )

    def serves(self, point: Point) -> bool:
        return point.bodies == ONE and point.copies == self._copies and point.model in self._models

    def start(self) -> None:
        python = self._bench.environment("mosec", [f"mosec=={VERSION}", *self._bench.onnx_packages])
        models = {name: self._describe(self._bench.models[name]) for name in self._models}
        port = self._url.rpartition(":")[2]
        settings = {
            "BENCH_MODELS": json.dumps(models),
            "MOSEC_ADDRESS": "127.0.0.1",
            "MOSEC_PORT": port,
            "MOSEC_TIMEOUT": "30000",
            "MOSEC_LOG_LEVEL": "warning",
            "MOSEC_PATH": str(self._folder / "sockets"),
        }
        self._program = Program([python, PROGRAM], self._folder / "log", plain_environment(**settings), self._folder)
        self._program.wait_until(self._is_up, self.name)

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()

    def target(self, point: Point) -> Target:
        body = self._folder / f"{point.model}.raw"
        body.write_bytes(self._bench.models[point.model].rows(1).tobytes())
        return Target(f"{self._url}/{point.model}", body, ("content-type: application/octet-stream",), http1=True)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        with urllib.request.urlopen(f"{self._url}/{model.name}", data=rows.tobytes(), timeout=30) as reply:
            return np.frombuffer(reply.read(), np.float32).reshape(len(rows), -1)

    def counts(self, point: Point) -> Counts:
        """Mosec counts answers by their status, over all routes."""
        page = prometheus.read(f"{self._url}/metrics")
        return Counts(prometheus.total(page, "mosec_service_throughput_total", code="200"))

    def processes(self) -> Mapping[str, Sequence[int]]:
        """The Rust front, and the Python processes."""
        if self._program is None:
            raise LoadError(f"{self.name} was not started")
        return proc_stat.by_command(proc_stat.tree(self._program.pid))

    def _describe(self, model: Model) -> dict[str, object]:
        return {
            "file": str(self._bench.file(model)),
            "input": model.input,
            "output": model.output,
            "row": model.row,
            "datatype": model.datatype,
            "copies": self._copies,
        }

    def _is_up(self) -> bool:
        """Whether every model answers."""
        try:
            for name in self._models:
                model = self._bench.models[name]
                self.answer(model, model.rows(1))
        except OSError:
            return False
        return True
