"""nnpm itself: a mesh in a folder of its own, with every model published and deployed."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nnpm
from benchmarks import bodies
from benchmarks.counts import Counts
from benchmarks.load_run import LoadError, Target
from benchmarks.models import Model, Tensor
from benchmarks.oip import OipClient
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.processes import Program, plain_environment
from benchmarks.workbench import Workbench

START_SECONDS, START_SECONDS_A_WORKER = 120.0, 3.0
"""How long a mesh may take to get healthy."""
NNPM = "import sys; from nnpm.cli import main; sys.exit(main())"
"""The command line, of this very environment."""


class Mesh:
    """One mesh.

    Args:
        name: in the tables.
        transport: for NNPM_TRANSPORT; empty leaves it to the mesh.
        copies: worker processes, each with a replica of each model.
        models: names of those to deploy.
        environment: more variables of its processes.
    """

    def __init__(
        self,
        bench: Workbench,
        name: str,
        *,
        transport: str,
        copies: int,
        models: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._bench = bench
        self._transport = transport
        self._copies = copies
        self._models = models
        self._environment = dict(environment or {})
        self.data = bench.folder(name.replace(" ", "-")) / "data"
        self._port = free_port(4)
        self._program: Program | None = None
        self._client: OipClient | None = None

    @property
    def settings(self) -> str:
        transport = self._transport or "default"
        return (
            f"nnpm {version('nnpm')}, ONNX Runtime, one intra-op thread, {self._copies} worker"
            f"{'s' if self._copies > 1 else ''}, transport {transport}, otherwise as it comes"
        )

    @property
    def address(self) -> str:
        """Of the inference protocol."""
        return f"127.0.0.1:{self._port}"

    def serves(self, point: Point) -> bool:
        return point.copies == self._copies and point.model in self._models

    def start(self) -> None:
        environment = plain_environment(NNPM_WORKER_THREADS="1", NNPM_LOG_LEVEL="warning", **self._environment)
        if self._transport:
            environment["NNPM_TRANSPORT"] = self._transport
        patience = START_SECONDS + START_SECONDS_A_WORKER * self._copies
        command = [
            *(sys.executable, "-c", NNPM, "up", "--data", self.data, "--port-base", self._port),
            *("--workers", self._copies, "--timeout", patience),
        ]
        self._program = Program(command, self.data.parent / "log", environment)
        self._program.wait_until(self._is_up, self.name, patience)
        with nnpm.Client(self.data) as client:
            for name in self._models:
                file = self._bench.file(self._bench.models[name])
                client.publish(file, name=f"bench/{name}", version="1.0.0", license="Apache-2.0")
                client.deploy(f"bench/{name}@^1", name=name, replicas=self._copies, wait=True)
        self._client = OipClient(self.address)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._program is not None:
            self._program.stop()

    def target(self, point: Point) -> Target:
        model = self._bench.models[point.model]
        body = bodies.body_file(self.data.parent, model, served_as=model.name, mixed=point.mixed)
        return Target(f"http://{self.address}/inference.GRPCInferenceService/ModelInfer", body)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        return self._oip.infer(bodies.request(model, rows, served_as=model.name), model.output)

    def counts(self, point: Point) -> Counts:
        return self._oip.statistics(point.model)

    def processes(self) -> Mapping[str, Sequence[int]]:
        """All processes of the mesh, as mesh.json lists them, workers added up."""
        groups: dict[str, list[int]] = {}
        for name, pid in _pids(self.data).items():
            groups.setdefault(name.partition("-")[0], []).append(pid)
        return groups

    @property
    def _oip(self) -> OipClient:
        if self._client is None:
            raise LoadError(f"{self.name} was not started")
        return self._client

    def _is_up(self) -> bool:
        return bool(_state(self.data).get("ready"))


def _state(data: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((data / "mesh.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _pids(data: Path) -> dict[str, int]:
    processes = _state(data).get("processes", ())
    return {process["name"]: process["pid"] for process in processes if process["pid"]}
