"""Server streams behind the edge: what they say, and how they end when their caller goes away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from nnpm.api.scheduler.v1 import deployment_service_pb2 as messages
from nnpm.api.scheduler.v1 import deployment_service_pb2_grpc as stubs
from nnpm.errors import NotFound
from nnpm.rpc.server import GrpcServer
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics
from support.waiting import eventually

SERVICE = "nnpm.api.scheduler.v1.DeploymentService"


class Watched(stubs.DeploymentServiceServicer):
    """Says one thing, then nothing; notes how it ends."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def WatchDeployment(
        self, request: messages.WatchDeploymentRequest, context: Any
    ) -> AsyncIterator[messages.WatchDeploymentResponse]:
        try:
            yield messages.WatchDeploymentResponse()
            if request.name == "gone":
                raise NotFound("DEPLOYMENT_NOT_FOUND", "it is gone")
            await asyncio.sleep(3600)
        finally:
            self.ended.set()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def channel(settings: ServiceSettings, metrics: Metrics, watched: Watched) -> AsyncIterator[grpc.aio.Channel]:
    server = GrpcServer(settings, "127.0.0.1:0", metrics)
    server.add(SERVICE, lambda s: stubs.add_DeploymentServiceServicer_to_server(watched, s))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
    await server.stop(0)


def counted(metrics: Metrics, code: str) -> float:
    labels = {"method": f"/{SERVICE}/WatchDeployment", "code": code}
    return metrics.registry.get_sample_value("nnpm_requests_total", labels) or 0


async def test_a_stream_whose_caller_goes_away_ends_at_once_and_leaves_no_error(
    channel: grpc.aio.Channel, watched: Watched, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    call = stubs.DeploymentServiceStub(channel).WatchDeployment(messages.WatchDeploymentRequest(name="a"))
    await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        await watched.ended.wait()
    await eventually(lambda: counted(metrics, "CANCELLED") == 1, 5)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_error_after_the_first_response_is_the_streams_status(
    channel: grpc.aio.Channel, metrics: Metrics
) -> None:
    call = stubs.DeploymentServiceStub(channel).WatchDeployment(messages.WatchDeploymentRequest(name="gone"))
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await eventually(lambda: counted(metrics, "NOT_FOUND") == 1, 5)
