"""A server of the Open Inference Protocol that somebody else has started (`--peer NAME=HOST:PORT`)."""

from collections.abc import Mapping, Sequence

import grpc

from benchmarks import bodies, proc_stat
from benchmarks.counts import Counts
from benchmarks.load_run import Target
from benchmarks.models import Model, Tensor
from benchmarks.oip import OipClient
from benchmarks.points import Point
from benchmarks.processes import StartError
from benchmarks.workbench import Workbench


class Outside:
    """It must serve models under the names that `--only` takes; those that it lacks are left out.

    Its processor time is known where it runs on this machine and its processes may be looked at.
    """

    def __init__(self, bench: Workbench, name: str, address: str) -> None:
        self.name = name
        self._bench = bench
        self._address = address
        self._client = OipClient(address)
        self._has = {model: self._client.ready(model) for model in bench.models}
        self._pids = proc_stat.listeners(int(address.rpartition(":")[2]))

    @property
    def settings(self) -> str:
        return f"at {self._address}, settings unknown"

    def serves(self, point: Point) -> bool:
        return point.copies == 1 and self._has[point.model]

    def start(self) -> None:
        """It runs; says so if it does not, or does not count."""
        served = [name for name, ready in self._has.items() if ready]
        if not served:
            raise StartError(f"{self.name} at {self._address} serves none of {', '.join(self._has)}")
        try:
            self._client.statistics(served[0])
        except grpc.RpcError as fault:
            raise StartError(f"{self.name} at {self._address} does not answer ModelStatistics: {fault}") from fault

    def stop(self) -> None:
        """It goes on."""
        self._client.close()

    def target(self, point: Point) -> Target:
        model, folder = self._bench.models[point.model], self._bench.folder(f"outside-{self.name}")
        body = bodies.body_file(folder, model, served_as=model.name, mixed=point.mixed)
        return Target(f"http://{self._address}/inference.GRPCInferenceService/ModelInfer", body)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        return self._client.infer(bodies.request(model, rows, served_as=model.name), model.output)

    def counts(self, point: Point) -> Counts:
        return self._client.statistics(point.model)

    def processes(self) -> Mapping[str, Sequence[int]]:
        trees = (pid for root in self._pids for pid in proc_stat.tree(root))
        return proc_stat.by_command(dict.fromkeys(trees))
