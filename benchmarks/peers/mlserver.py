"""MLServer, with a runtime of its own for ONNX, without or with adaptive batching."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import bodies, proc_stat, prometheus
from benchmarks.counts import Counts
from benchmarks.load_run import LoadError, Target
from benchmarks.models import Model, Tensor
from benchmarks.oip import OipClient
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.processes import Program, plain_environment
from benchmarks.workbench import Workbench

VERSION = "1.7.1"
PROGRAMS = Path(__file__).with_name("programs")
MAX_BATCH, WAIT_SECONDS = 64, 0.002
MAX_BYTES = 64 * 1024 * 1024


class MLServer:
    """One server with all models, run in the server's own process (`parallel_workers` 0 is its fastest)."""

    def __init__(self, bench: Workbench, name: str, *, batching: bool, models: Sequence[str]) -> None:
        self.name = name
        self._bench = bench
        self._batching = batching
        self._models = models
        self._folder = bench.folder(name.replace(" ", "-"))
        self._grpc, self._http, self._metrics = (free_port() for _ in range(3))
        self._program: Program | None = None
        self._client: OipClient | None = None

    @property
    def settings(self) -> str:
        batching = f"adaptive batching of {MAX_BATCH}, {WAIT_SECONDS * 1e3:g} ms" if self._batching else "no batching"
        return f"MLServer {VERSION}, ONNX Runtime, one intra-op thread, parallel_workers 0, {batching}"

    def serves(self, point: Point) -> bool:
        """Its batches take requests of one shape; in a mixed run it answers some with an error."""
        return point.copies == 1 and point.model in self._models and not (point.mixed and self._batching)

    def start(self) -> None:
        python = self._bench.environment("mlserver", [f"mlserver=={VERSION}", *self._bench.onnx_packages])
        self._write_settings()
        environment = plain_environment(PYTHONPATH=str(PROGRAMS))
        command = [python, "-c", "from mlserver.cli import main; main()", "start", self._folder]
        self._program = Program(command, self._folder / "log", environment, self._folder)
        self._client = OipClient(f"127.0.0.1:{self._grpc}")
        client = self._client
        self._program.wait_until(lambda: all(client.ready(name) for name in self._models), self.name)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._program is not None:
            self._program.stop()

    def target(self, point: Point) -> Target:
        model = self._bench.models[point.model]
        body = bodies.body_file(self._folder, model, served_as=model.name, mixed=point.mixed)
        return Target(f"http://127.0.0.1:{self._grpc}/inference.GRPCInferenceService/ModelInfer", body)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        if self._client is None:
            raise LoadError(f"{self.name} was not started")
        return self._client.infer(bodies.request(model, rows, served_as=model.name), model.output)

    def counts(self, point: Point) -> Counts:
        page = prometheus.read(f"http://127.0.0.1:{self._metrics}/metrics")
        return Counts(prometheus.total(page, "model_infer_request_success_total", model=point.model))

    def processes(self) -> Mapping[str, Sequence[int]]:
        return {} if self._program is None else {"mlserver": proc_stat.tree(self._program.pid)}

    def _write_settings(self) -> None:
        settings = {
            "debug": False,
            "host": "127.0.0.1",
            "parallel_workers": 0,
            "grpc_port": self._grpc,
            "http_port": self._http,
            "metrics_port": self._metrics,
            "grpc_max_message_length": MAX_BYTES,
            "metrics_dir": str(self._folder / "metrics"),
        }
        (self._folder / "settings.json").write_text(json.dumps(settings))
        batching = {"max_batch_size": MAX_BATCH, "max_batch_time": WAIT_SECONDS} if self._batching else {}
        for name in self._models:
            folder = self._folder / name
            folder.mkdir()
            file = self._bench.file(self._bench.models[name])
            model = {
                "name": name,
                "implementation": "mlserver_runtime.Onnx",
                "parameters": {"uri": str(file)},
                **batching,
            }
            (folder / "model-settings.json").write_text(json.dumps(model))
