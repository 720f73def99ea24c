"""Every server lists and describes its services by reflection v1, and tells their health by name."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as messages

from support.mesh import Mesh

SERVERS = {
    "scheduler": "inference.GRPCInferenceService",
    "registry": "nnpm.api.registry.v1.RegistryService",
    "artifact": "nnpm.api.artifact.v1.ArtifactService",
    "control": "nnpm.api.scheduler.v1.DeploymentService",
}


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[tuple[grpc.Channel, str]]:
    """A channel to a server, and the service that it is for."""
    with grpc.insecure_channel(getattr(mesh, request.param)) as channel:
        yield channel, SERVERS[request.param]


def _ask(channel: grpc.Channel, request: messages.ServerReflectionRequest) -> messages.ServerReflectionResponse:
    # v1's messages are v1alpha's; only the service's name differs
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=messages.ServerReflectionRequest.SerializeToString,
        response_deserializer=messages.ServerReflectionResponse.FromString,
    )
    return next(call(iter([request]), timeout=10))


def test_reflection_lists_every_service(server: tuple[grpc.Channel, str]) -> None:
    channel, service = server
    answer = _ask(channel, messages.ServerReflectionRequest(list_services=""))
    names = {entry.name for entry in answer.list_services_response.service}
    assert {service, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names


def test_reflection_describes_the_service_in_full(server: tuple[grpc.Channel, str]) -> None:
    channel, service = server
    pool = DescriptorPool()
    files: dict[str, FileDescriptorProto] = {}
    asked = [messages.ServerReflectionRequest(file_containing_symbol=service)]
    while asked:
        answer = _ask(channel, asked.pop())
        assert not answer.HasField("error_response"), answer.error_response
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            files[file.name] = file
        known = set(files)
        wanted = {name for file in files.values() for name in file.dependency} - known
        asked = [messages.ServerReflectionRequest(file_by_filename=name) for name in sorted(wanted)]
    _add(pool, files)
    assert pool.FindServiceByName(service).methods


def _add(pool: DescriptorPool, files: dict[str, FileDescriptorProto]) -> None:
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            pool.Add(files[name])

    for name in files:
        add(name)


def test_health_is_told_by_name(server: tuple[grpc.Channel, str]) -> None:
    channel, service = server
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", service):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
