"""A bare `grpc.aio` server that returns what it is sent: as fast as a front in Python can be.

As a program: `python -m benchmarks.peers.echo PORT`.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
import numpy as np
import uvloop

from benchmarks import bodies
from benchmarks.counts import Counts
from benchmarks.load_run import LoadError, Target
from benchmarks.models import Model, Tensor
from benchmarks.oip import OipClient
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.processes import Program, plain_environment
from benchmarks.workbench import Workbench
from nnpm.api.inference import inference_pb2

ROOT = Path(__file__).resolve().parents[2]
INFER = "/inference.GRPCInferenceService/ModelInfer"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
MAX_BYTES = 64 * 1024 * 1024


class Echo:
    """The server, from outside."""

    name = "grpc.aio echo"

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._port = free_port()
        self._program: Program | None = None
        self._client: OipClient | None = None

    @property
    def settings(self) -> str:
        return f"grpcio {grpc.__version__}, uvloop {version('uvloop')}, one generic unary handler, no model at all"

    def serves(self, point: Point) -> bool:
        return point.copies == 1

    def start(self) -> None:
        folder = self._bench.folder("echo")
        command = [sys.executable, "-m", "benchmarks.peers.echo", self._port]
        self._program = Program(command, folder / "log", plain_environment(), ROOT)
        self._client = OipClient(f"127.0.0.1:{self._port}")
        self._program.wait_until(lambda: self._client is not None and self._client.ready(""), self.name)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._program is not None:
            self._program.stop()

    def target(self, point: Point) -> Target:
        folder = self._bench.folder("echo")
        body = bodies.body_file(folder, self._bench.models[point.model], served_as=point.model, mixed=point.mixed)
        return Target(f"http://127.0.0.1:{self._port}{INFER}", body)

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        """The rows, as they came back."""
        message = bodies.request(model, rows, served_as=model.name)
        back = inference_pb2.ModelInferRequest.FromString(self._oip.call("ModelInfer", message))
        return np.frombuffer(back.raw_input_contents[0], rows.dtype).reshape(rows.shape)

    def counts(self, point: Point) -> Counts:
        return self._oip.statistics(point.model)

    def processes(self) -> Mapping[str, Sequence[int]]:
        return {} if self._program is None else {"echo": [self._program.pid]}

    @property
    def _oip(self) -> OipClient:
        if self._client is None:
            raise LoadError(f"{self.name} was not started")
        return self._client


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._echoed = 0
        self._infer: Handler = grpc.unary_unary_rpc_method_handler(self._echo)
        self._statistics: Handler = grpc.unary_unary_rpc_method_handler(self._count)
        self._ready: Handler = grpc.unary_unary_rpc_method_handler(self._yes)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        method = handler_call_details.method
        if method == INFER:
            return self._infer
        return self._statistics if method.endswith("ModelStatistics") else self._ready

    async def _echo(self, message: bytes, context: object) -> bytes:
        self._echoed += 1
        return message

    async def _count(self, message: bytes, context: object) -> bytes:
        reply = inference_pb2.ModelStatisticsResponse()
        reply.model_stats.add().inference_stats.success.count = self._echoed
        return reply.SerializeToString()

    async def _yes(self, message: bytes, context: object) -> bytes:
        return inference_pb2.ModelReadyResponse(ready=True).SerializeToString()


async def serve(port: int) -> None:
    """Echo until the process is ended."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_BYTES)])
    server.add_generic_rpc_handlers((_Handlers(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
