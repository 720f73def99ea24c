"""The server's span of an inference call, and the context that travels with the request.

A call that is not sampled costs one look into its metadata, or one draw of the sampler where it brings no context.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
from opentelemetry import propagate, trace

from nnpm.errors import NnpmError

Context = grpc.aio.ServicerContext[Any, Any]

TRACEPARENT = "traceparent"
_SAMPLED = 1


class CallTracer:
    """Opens a span for each sampled call.

    Args:
        tracer: None where spans go nowhere: then a sampled caller's context is passed on as it came.
    """

    def __init__(self, tracer: trace.Tracer | None) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, method: str, context: Context) -> Iterator[str]:
        """The traceparent for the queue entry: empty when the call is not sampled."""
        metadata = context.invocation_metadata() or ()
        came = next((_text(value) for key, value in metadata if key == TRACEPARENT), "")
        if self._tracer is None or (came and not _sampled(came)):
            yield came if _sampled(came) else ""
            return
        parent = propagate.extract({key: _text(value) for key, value in metadata}) if came else None
        span = self._tracer.start_span(f"inference.GRPCInferenceService/{method}", parent, trace.SpanKind.SERVER)
        if not span.is_recording():
            yield ""
            return
        span.set_attribute("rpc.system", "grpc")
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            yield carrier.get(TRACEPARENT, "")

    def failed(self, error: NnpmError) -> None:
        """Notes on the current span why its call failed."""
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attribute("nnpm.reason", error.reason)
            span.set_status(trace.StatusCode.ERROR, error.message)


def _sampled(traceparent: str) -> bool:
    """https://www.w3.org/TR/trace-context/#trace-flags: the last field's lowest bit."""
    flags = traceparent.rpartition("-")[2][:2]
    try:
        return bool(int(flags, 16) & _SAMPLED)
    except ValueError:
        return False


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")
