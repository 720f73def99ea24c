"""NVIDIA Triton on the CPU, from the wheel nvidia-pytriton: its C++ front and batcher, and its Python backend.

The wheel's own Python front is not used: the server binary runs alone. Its C++ backend for ONNX Runtime is in no
package; a server that has it is measured with `--peer`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import bodies, proc_stat
from benchmarks.counts import Counts
from benchmarks.load_run import LoadError, Target
from benchmarks.models import Model, Tensor
from benchmarks.oip import OipClient
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.processes import Program, plain_environment
from benchmarks.workbench import Workbench

WHEEL = "nvidia-pytriton==0.7.0"
MODEL = Path(__file__).with_name("programs") / "triton_model.py"
PROBE = "import sysconfig; print(sysconfig.get_path('purelib')); print(sysconfig.get_config_var('LIBDIR'))"
CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 64
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
input [{{ name: "{input}" data_type: TYPE_{datatype} dims: [ {input_dims} ] }}]
output [{{ name: "{output}" data_type: TYPE_FP32 dims: [ {output_dims} ] }}]
instance_group [{{ kind: KIND_CPU count: {copies} }}]
"""


class Triton:
    """One server with all models.

    Args:
        delay: `max_queue_delay_microseconds`.
    """

    def __init__(self, bench: Workbench, name: str, *, delay: int, copies: int, models: Sequence[str]) -> None:
        self.name = name
        self._bench = bench
        self._delay = delay
        self._copies = copies
        self._models = models
        self._folder = bench.folder(name.replace(" ", "-"))
        self._port = free_port(2)
        self._program: Program | None = None
        self._client: OipClient | None = None

    @property
    def settings(self) -> str:
        return (
            f"Triton of {WHEEL}, Python backend, ONNX Runtime, one intra-op thread, batches of 64, delay "
            f"{self._delay / 1e3:g} ms, {self._copies} instance{'s' if self._copies > 1 else ''}"
        )

    def serves(self, point: Point) -> bool:
        return point.copies == self._copies and point.model in self._models

    def start(self) -> None:
        python = self._bench.environment("triton", [WHEEL, *self._bench.onnx_packages])
        site, libraries = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        server = Path(site) / "pytriton" / "tritonserver"
        self._prepare(server)
        for name in self._models:
            self._write_model(self._bench.models[name])
        environment = plain_environment(
            PYTHONPATH=site,
            PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            LD_LIBRARY_PATH=f"{libraries}{os.pathsep}{Path(site) / 'nvidia_pytriton.libs'}",
        )
        command = [
            *(server / "bin" / "tritonserver", "--model-repository", self._folder / "models"),
            *("--backend-directory", server / "backends", "--allow-metrics", "false", "--log-verbose", "0"),
            *("--grpc-address", "127.0.0.1", "--grpc-port", self._port),
            *("--http-address", "127.0.0.1", "--http-port", self._port + 1),
        ]
        self._program = Program(command, self._folder / "log", environment, self._folder)
        self._client = OipClient(f"127.0.0.1:{self._port}")
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
        return Target(f"http://127.0.0.1:{self._port}/inference.GRPCInferenceService/ModelInfer", body)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        return self._oip.infer(bodies.request(model, rows, served_as=model.name), model.output)

    def counts(self, point: Point) -> Counts:
        return self._oip.statistics(point.model)

    def processes(self) -> Mapping[str, Sequence[int]]:
        """The server, and a process of the Python backend for each model's instance."""
        if self._program is None:
            raise LoadError(f"{self.name} was not started")
        root = self._program.pid
        return {"tritonserver": [root], "python backend": [pid for pid in proc_stat.tree(root) if pid != root]}

    @property
    def _oip(self) -> OipClient:
        if self._client is None:
            raise LoadError(f"{self.name} was not started")
        return self._client

    def _prepare(self, server: Path) -> None:
        """Put the backend's stub for this Python where the server looks for it, and make both executable."""
        stub = server / "backends" / "python" / "triton_python_backend_stub"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shipped = server / "python_backend_stubs" / version / stub.name
        if not shipped.exists():
            raise LoadError(f"{WHEEL} has no Python backend for Python {version}")
        if not stub.exists():
            shutil.copy(shipped, stub)
        for program in (stub, server / "bin" / "tritonserver"):
            program.chmod(0o755)

    def _write_model(self, model: Model) -> None:
        folder = self._folder / "models" / model.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").symlink_to(self._bench.file(model))
        shutil.copy(MODEL, folder / "model.py")
        answer = self._bench.reference(model, model.rows(1))
        config = CONFIG.format(
            name=model.name,
            delay=self._delay,
            copies=self._copies,
            input=model.input,
            output=model.output,
            datatype=model.datatype,
            input_dims=", ".join(map(str, model.row)),
            output_dims=", ".join(map(str, answer.shape[1:])),
        )
        (folder.parent / "config.pbtxt").write_text(config)
