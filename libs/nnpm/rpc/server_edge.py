"""The server's edge of a call: a span, the figures, and rich statuses instead of exceptions."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from opentelemetry import propagate, trace

from nnpm.errors import Internal, InvalidArgument, NnpmError
from nnpm.rpc.status import abort
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics

# grpc's stubs type handlers for the synchronous server only.
Handler = Any
Context = grpc.aio.ServicerContext[Any, Any]


class ServerEdge:
    """Wraps every method except those named in `bare`, which look after themselves (the dispatch path).

    Not an interceptor: that would be asked, in a coroutine of its own, at every call.
    """

    def __init__(self, metrics: Metrics, bare: Collection[str] = ()) -> None:
        self._metrics = metrics
        self._bare = frozenset(bare)
        self._log = get_logger("rpc")
        self._tracer = trace.get_tracer("nnpm.rpc")

    def before(self, server: grpc.aio.Server) -> grpc.aio.Server:
        """What services add their handlers to, so that they come to the server wrapped."""
        return cast("grpc.aio.Server", _Registrar(server, self))

    def wrap(self, handler: Handler, method: str) -> Handler:
        """The method's handler, behind the edge."""
        return handler if method in self._bare else self._wrap(handler, method)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        """The same handler behind `_call`; requests are parsed inside it, so that bad bytes get a rich status too."""
        streams = handler.request_streaming, handler.response_streaming
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        parse = _parse_each if handler.request_streaming else _parse

        async def unary(request: Any, context: Context) -> Any:
            async with self._call(method, context):
                return await inner(parse(handler.request_deserializer, request), context)

        # Written, not yielded: gRPC leaves a generator whose caller went away to the garbage collector, which ends it
        # some time later, in a context where its span cannot be closed.
        async def stream(request: Any, context: Context) -> None:
            async with (
                self._call(method, context),
                aclosing(inner(parse(handler.request_deserializer, request), context)) as responses,
            ):
                async for response in responses:
                    await context.write(response)

        return _KINDS[streams](stream if handler.response_streaming else unary, None, handler.response_serializer)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        parent = propagate.extract(dict(context.invocation_metadata() or ()))
        code, begun = "OK", time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            with self._tracer.start_as_current_span(
                method.strip("/"), parent, kind=trace.SpanKind.SERVER, attributes={"rpc.system": "grpc"}
            ) as span:
                try:
                    yield
                except NnpmError as error:
                    code = error.code
                    span.set_attribute("nnpm.reason", error.reason)
                    self._metrics.errors.labels(error.reason).inc()
                    await abort(context, error)
                except (grpc.aio.AbortError, grpc.aio.UsageError):
                    raise
                except asyncio.CancelledError:
                    code = "CANCELLED"
                    raise
                except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, the client gets a clear status
                    code = "INTERNAL"
                    self._log.exception("a call failed with a fault of the service", method=method)
                    self._metrics.errors.labels("INTERNAL_ERROR").inc()
                    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
                    await abort(context, _internal(error, trace_id))
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(method, code).inc()
            self._metrics.latency.labels(method).observe(time.perf_counter() - begun)


class _Registrar:
    """The part of a server that generated code knows."""

    def __init__(self, server: grpc.aio.Server, edge: ServerEdge) -> None:
        self._server = server
        self._edge = edge

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers([_Wrapped(each, self._edge) for each in handlers])

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """They are among the generic ones, too."""


class _Wrapped(grpc.GenericRpcHandler):
    """A service's handlers, each wrapped once."""

    def __init__(self, inner: grpc.GenericRpcHandler, edge: ServerEdge) -> None:
        self._inner = inner
        self._edge = edge
        self._wrapped: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        method = handler_call_details.method
        handler = self._wrapped.get(method)
        if handler is None and (found := self._inner.service(handler_call_details)) is not None:
            handler = self._wrapped[method] = self._edge.wrap(found, method)
        return handler


_KINDS: Mapping[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _parse(deserialize: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return deserialize(request)
    except DecodeError:
        raise InvalidArgument(
            "MALFORMED_REQUEST",
            "the request's bytes are not the message that this method takes",
            hint="generate the client's stubs from this server's protos",
        ) from None


async def _parse_each(deserialize: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parse(deserialize, request)


def _internal(error: Exception, trace_id: str) -> Internal:
    return Internal(
        "INTERNAL_ERROR",
        f"a fault inside the service ({type(error).__name__}); its log has the details",
        metadata={"trace_id": trace_id},
    )
