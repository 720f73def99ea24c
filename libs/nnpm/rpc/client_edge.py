"""The client's edge of a call: a deadline, the trace context, and nnpm's errors instead of gRPC's."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc.aio
from opentelemetry import propagate
from opentelemetry.propagators.textmap import Setter

from nnpm.rpc.status import from_call


def client_interceptors(address: str, timeout: float) -> Sequence[grpc.aio.ClientInterceptor]:
    """One interceptor for each of gRPC's four kinds of call; `timeout` (seconds) is for unary responses without one."""
    edge = _Edge(address, timeout)
    return (_UnaryUnary(edge), _UnaryStream(edge), _StreamUnary(edge), _StreamStream(edge))


class _Edge:
    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout

    def details(self, details: grpc.aio.ClientCallDetails, *, bounded: bool) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        propagate.inject(metadata, setter=_MetadataSetter())
        timeout = self._timeout if bounded and details.timeout is None else details.timeout
        return grpc.aio.ClientCallDetails(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready
        )

    async def response(self, call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_call(error, self._address) from None

    async def responses(self, call: Any) -> AsyncIterator[Any]:
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_call(error, self._address) from None
        finally:
            # A consumer that stops early must not leave the server streaming into the void.
            call.cancel()


class _MetadataSetter(Setter[grpc.aio.Metadata]):
    def set(self, carrier: grpc.aio.Metadata, key: str, value: str) -> None:
        carrier[key] = value


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, edge: _Edge) -> None:
        self._edge = edge

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        call = await continuation(self._edge.details(client_call_details, bounded=True), request)
        return await self._edge.response(call)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, edge: _Edge) -> None:
        self._edge = edge

    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        call = await continuation(self._edge.details(client_call_details, bounded=False), request_iterator)
        return await self._edge.response(call)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, edge: _Edge) -> None:
        self._edge = edge

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        call = await continuation(self._edge.details(client_call_details, bounded=False), request)
        return self._edge.responses(call)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, edge: _Edge) -> None:
        self._edge = edge

    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        call = await continuation(self._edge.details(client_call_details, bounded=False), request_iterator)
        return self._edge.responses(call)
