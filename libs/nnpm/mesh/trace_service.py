"""The receiver of a mesh's traces: takes spans over OTLP/gRPC into the ring, and serves the ring to who asks."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import NotFound
from nnpm.mesh.trace_relay import TraceRelay
from nnpm.mesh.trace_ring import Span, SpanLink, TraceRing, TraceSummary
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm.rpc.server import GrpcServer
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics

OTLP_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
TRACE_SERVICE = "nnpm.api.mesh.v1.TraceService"
DEFAULT_PAGE = 20

Context = grpc.aio.ServicerContext[Any, Any]


class TraceReceiver:
    """A gRPC server on `listen` for as long as the `async with` lasts.

    Args:
        listen: `unix:/path` or a loopback `host:port`.
        forward: an OTLP/gRPC receiver that gets all spans too; "" for none.
    """

    def __init__(self, listen: str, forward: str = "") -> None:
        ring = TraceRing()
        self._relay = TraceRelay(forward) if forward else None
        self._relaying: asyncio.Task[None] | None = None
        # Clear text whatever the services do: the socket lies in a folder that only this user may enter.
        settings = ServiceSettings.load([]).model_copy(update={"tls_cert": None, "tls_key": None, "tls_ca": None})
        self._server = GrpcServer(settings, listen, Metrics())
        collector, reader = _Collector(ring, self._relay), _Reader(ring)
        self._server.add(OTLP_SERVICE, partial(trace_service_pb2_grpc.add_TraceServiceServicer_to_server, collector))
        self._server.add(TRACE_SERVICE, partial(trace_pb2_grpc.add_TraceServiceServicer_to_server, reader))

    @property
    def address(self) -> str:
        return self._server.address

    async def __aenter__(self) -> Self:
        await self._server.start()
        await self._server.set_serving(True)
        if self._relay is not None:
            self._relaying = asyncio.create_task(self._relay.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._server.stop(grace=0.5)
        if self._relaying is not None:
            self._relaying.cancel()
            await asyncio.wait([self._relaying])


class _Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """opentelemetry.proto.collector.trace.v1.TraceService; see opentelemetry-proto, collector/trace/v1."""

    def __init__(self, ring: TraceRing, relay: TraceRelay | None) -> None:
        self._ring = ring
        self._relay = relay

    async def Export(  # noqa: N802 -- the method's name in the protocol
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Context
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._ring.add(_spans(request))
        if self._relay is not None:
            self._relay.offer(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Reader(trace_pb2_grpc.TraceServiceServicer):
    """nnpm.api.mesh.v1.TraceService."""

    def __init__(self, ring: TraceRing) -> None:
        self._ring = ring

    async def GetTrace(  # noqa: N802 -- the method's name in the protocol
        self, request: trace_pb2.GetTraceRequest, context: Context
    ) -> trace_pb2.GetTraceResponse:
        spans = self._ring.spans_of(request.trace_id)
        if not spans:
            raise NotFound(
                "TRACE_NOT_FOUND",
                f"no trace {request.trace_id!r} is here: it was not sampled, is not exported yet, or was pushed out",
                metadata={"trace_id": request.trace_id},
            )
        return trace_pb2.GetTraceResponse(spans=map(_span_message, spans))

    async def ListTraces(  # noqa: N802 -- the method's name in the protocol
        self, request: trace_pb2.ListTracesRequest, context: Context
    ) -> trace_pb2.ListTracesResponse:
        size = page_size(request.page_size) if request.page_size else DEFAULT_PAGE
        summaries = list(self._ring.summaries())
        ids = [summary.trace_id for summary in summaries]
        before = last_seen(request.page_token)
        # What was the last of the page before may have been pushed out since; then so was all that followed.
        first = 0 if not before else ids.index(before) + 1 if before in ids else len(ids)
        page = summaries[first : first + size]
        more = first + size < len(summaries)
        return trace_pb2.ListTracesResponse(
            traces=map(_summary_message, page), next_page_token=page_token(page[-1].trace_id) if more else ""
        )


def _spans(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        attributes = _attributes(resource_spans.resource.attributes)
        service = attributes.get("service.name", "")
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, service)


def _span(span: otlp.Span, service: str) -> Span:
    failed = span.status.code == otlp.Status.STATUS_CODE_ERROR
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        service=service,
        start_ns=span.start_time_unix_nano,
        duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple(SpanLink(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=(span.status.message or "error") if failed else "",
    )


def _attributes(pairs: Iterable[common_pb2.KeyValue]) -> dict[str, str]:
    return {pair.key: _text(pair.value) for pair in pairs}


def _text(value: common_pb2.AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return ", ".join(_text(item) for item in value.array_value.values)
    return "" if kind is None else str(getattr(value, kind))


def _span_message(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        service=span.service,
        start_ns=span.start_ns,
        duration_ns=span.duration_ns,
        attributes=span.attributes,
        links=[trace_pb2.SpanLink(trace_id=link.trace_id, span_id=link.span_id) for link in span.links],
        error=span.error,
    )


def _summary_message(summary: TraceSummary) -> trace_pb2.TraceSummary:
    return trace_pb2.TraceSummary(
        trace_id=summary.trace_id,
        root_name=summary.root_name,
        start_ns=summary.start_ns,
        duration_ns=summary.duration_ns,
        span_count=summary.span_count,
    )
