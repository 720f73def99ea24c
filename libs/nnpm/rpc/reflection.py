"""Server reflection, v1 and v1alpha, over any descriptor pool.

grpcio-reflection implements v1alpha only. The two differ in nothing but the package's name, so that v1 is the same
servicer behind the other name, with its descriptor made from v1alpha's.
"""

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import _async as reflection_aio
from grpc_reflection.v1alpha import reflection_pb2

HEALTH = "grpc.health.v1.Health"
V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def add_reflection(server: grpc.aio.Server, services: Sequence[str], source: DescriptorPool) -> None:
    """Serve reflection of `services` (full names), whose descriptors are in `source`, and of health and itself."""
    pool = DescriptorPool()
    for name in services:
        _copy(source.FindServiceByName(name).file, pool)
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        _copy(file, pool)
    pool.AddSerializedFile(_v1_descriptor())
    symbols: Any = _Symbols(pool)
    servicer = reflection_aio.ReflectionServicer((*services, HEALTH, V1, V1ALPHA), pool=symbols)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in (V1, V1ALPHA)]
    server.add_generic_rpc_handlers(handlers)


class _Symbols:
    """A pool that finds methods by their full names too: the protocol wants it, ghz asks so, pools know none."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - the name that pools have for it
        """The file; KeyError when nothing is called so."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def _copy(file: Any, pool: DescriptorPool) -> None:
    """Add a file and what it imports to `pool`; the same file twice is harmless."""
    for imported in file.dependencies:
        _copy(imported, pool)
    pool.AddSerializedFile(file.serialized_pb)


def _v1_descriptor() -> bytes:
    renamed = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    renamed.name, renamed.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in renamed.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in renamed.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return renamed.SerializeToString()
