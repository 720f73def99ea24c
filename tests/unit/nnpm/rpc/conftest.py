"""A real server with a real service, on loopback: what the tests of both edges call."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import NnpmError
from nnpm.rpc.server import GrpcServer
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics

SERVICE = "nnpm.api.mesh.v1.TraceService"


class Traces(trace_pb2_grpc.TraceServiceServicer):
    """Answers with the trace id, or raises what the test put into `error`."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.metadata: dict[str, Any] = {}
        self.remaining: float | None = None

    async def GetTrace(self, request: trace_pb2.GetTraceRequest, context: Any) -> trace_pb2.GetTraceResponse:
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        if self.error is not None:
            raise self.error
        return trace_pb2.GetTraceResponse(spans=[trace_pb2.Span(name=request.trace_id)])


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    return ServiceSettings.load([])


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def server(settings: ServiceSettings, metrics: Metrics, traces: Traces) -> AsyncIterator[GrpcServer]:
    running = GrpcServer(settings, "127.0.0.1:0", metrics)
    running.add(SERVICE, lambda s: trace_pb2_grpc.add_TraceServiceServicer_to_server(traces, s))
    await running.start()
    yield running
    await running.stop(0)


Raiser = Callable[[NnpmError], None]


@pytest.fixture
async def bare_channel(server: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel without nnpm's client edge: what a foreign client sees."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
