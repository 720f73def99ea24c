"""Listening, health, reflection."""

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.rpc.server import GrpcServer
from nnpm.rpc.tls import check_listen, is_local
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics

SERVICE = "nnpm.api.mesh.v1.TraceService"


async def health(channel: grpc.aio.Channel, service: str) -> int:
    response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return response.status


async def test_health_follows_readiness(server: GrpcServer, bare_channel: grpc.aio.Channel) -> None:
    assert await health(bare_channel, SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.set_serving(True)
    assert await health(bare_channel, SERVICE) == health_pb2.HealthCheckResponse.SERVING
    assert await health(bare_channel, "") == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_lists_and_describes_every_service(bare_channel: grpc.aio.Channel, package: str) -> None:
    method = bare_channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    [listing] = [r async for r in method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))]
    names = {service.name for service in listing.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names
    symbols = [*sorted(names), f"{SERVICE}.GetTrace", "grpc.health.v1.Health.Watch", "nnpm.api.mesh.v1.Span.name"]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in symbols]
    answers = [r async for r in method(iter(requests))]
    assert all(answer.HasField("file_descriptor_response") for answer in answers)


async def test_reflection_knows_no_symbol_that_is_not_there(bare_channel: grpc.aio.Channel) -> None:
    method = bare_channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    symbols = ["", ".", SERVICE + ".", f"{SERVICE}.Get", "nnpm.api.mesh.v1.Trace.GetTrace", "GetTrace"]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in symbols]
    answers = [r async for r in method(iter(requests))]
    assert [answer.error_response.error_code for answer in answers] == [5] * len(symbols)


async def test_a_taken_port_is_named(server: GrpcServer, settings: ServiceSettings) -> None:
    with pytest.raises(Unavailable, match=server.address) as caught:
        await GrpcServer(settings, server.address, Metrics()).start()
    assert caught.value.reason == "ADDRESS_IN_USE"


async def test_beyond_loopback_needs_tls_or_insecure(settings: ServiceSettings) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await GrpcServer(settings, "0.0.0.0:0", Metrics()).start()
    assert (caught.value.reason, "NNPM_INSECURE" in caught.value.hint) == ("LISTEN_NOT_LOOPBACK", True)
    check_listen("0.0.0.0:1", secure=True, insecure_allowed=False)
    check_listen("0.0.0.0:1", secure=False, insecure_allowed=True)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_what_counts_as_this_machine(address: str, local: bool) -> None:
    assert is_local(address) is local
