"""Reads a trace out of the ring of a running mesh."""

import asyncio
import time

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import NotFound
from nnpm.mesh.trace_ring import Span, SpanLink
from nnpm.rpc.channels import open_channel

POLL = 0.1
SETTLED = 0.5
"""Seconds without a new span after which a trace counts as complete: every process exports five times a second."""


async def fetch_trace(address: str, trace_id: str, timeout: float = 3.0) -> tuple[Span, ...]:
    """The spans of a trace whose call has just ended: asks until no more come, at most `timeout` seconds.

    Args:
        address: of the ring, as `MeshAddresses.traces` has it.
        trace_id: 32 lowercase hex digits.

    Raises:
        NotFound: TRACE_NOT_FOUND when no span of it came in time.
        Unavailable: when nobody listens there.
    """
    until = time.monotonic() + timeout
    spans: tuple[Span, ...] = ()
    changed = time.monotonic()
    async with open_channel(address) as channel:
        stub = trace_pb2_grpc.TraceServiceStub(channel)
        while True:
            late = time.monotonic() > until
            try:
                answer = await stub.GetTrace(trace_pb2.GetTraceRequest(trace_id=trace_id), timeout=timeout)
            except NotFound:
                if late:
                    raise
            else:
                if len(answer.spans) != len(spans):
                    changed = time.monotonic()
                    spans = tuple(_span(trace_id, span) for span in answer.spans)
                if late or time.monotonic() - changed > SETTLED:
                    return spans
            await asyncio.sleep(POLL)


def _span(trace_id: str, span: trace_pb2.Span) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        service=span.service,
        start_ns=span.start_ns,
        duration_ns=span.duration_ns,
        attributes=dict(span.attributes),
        links=tuple(SpanLink(link.trace_id, link.span_id) for link in span.links),
        error=span.error,
    )
