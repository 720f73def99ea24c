"""Spans of sampled requests: each request's own, the runtime's under it, and the batch's, which links to them.

A request's spans continue the caller's trace. A batch serves many traces: its span stands in the first one's, and links
to every request, as OpenTelemetry's messaging conventions have it. What is not sampled costs one comparison.
"""

import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer

from nnpm_worker.execution import BatchResult, Outcome


class BatchSpans:
    """Records the spans of batches once they have run.

    Args:
        tracer: of this process.
        worker: its name, an attribute of each span.
    """

    def __init__(self, tracer: Tracer, worker: str) -> None:
        self._tracer = tracer
        self._worker = worker

    def record(self, revision: str, result: BatchResult) -> None:
        """Record a batch that has just run."""
        sampled = [outcome for outcome in result.outcomes if outcome.job.block.traceparent]
        if not sampled:
            return
        now = time.time_ns()
        # What is on the monotonic clock, on the wall clock.
        shift = now - time.monotonic_ns()
        spans = [self._record_request(revision, outcome, shift, now) for outcome in sampled]
        self._record_batch(revision, result, spans, shift, now)

    def _record_request(self, revision: str, outcome: Outcome, shift: int, now: int) -> trace.Span:
        span = self._tracer.start_span(
            "nnpm.worker.request",
            context=extract({"traceparent": outcome.job.block.traceparent}),
            kind=SpanKind.CONSUMER,
            start_time=outcome.job.received_ns + shift,
            attributes={"nnpm.revision": revision, "nnpm.worker": self._worker},
        )
        if outcome.run is not None:
            run = self._tracer.start_span(
                "nnpm.runtime.run", context=trace.set_span_in_context(span), start_time=outcome.run.begun_ns
            )
            _set_status(run, outcome)
            run.end(outcome.run.ended_ns)
        _set_status(span, outcome)
        span.end(now)
        return span

    def _record_batch(
        self, revision: str, result: BatchResult, requests: Sequence[trace.Span], shift: int, now: int
    ) -> None:
        span = self._tracer.start_span(
            "nnpm.worker.batch",
            context=trace.set_span_in_context(requests[0]),
            kind=SpanKind.CONSUMER,
            links=[Link(request.get_span_context()) for request in requests],
            start_time=result.started_ns + shift,
            attributes={
                "nnpm.revision": revision,
                "nnpm.worker": self._worker,
                "messaging.batch.message_count": sum([outcome.count for outcome in result.outcomes]),
                "nnpm.batch.rows": result.figures.rows,
            },
        )
        span.end(now)


def _set_status(span: trace.Span, outcome: Outcome) -> None:
    if outcome.error is not None:
        span.set_status(Status(StatusCode.ERROR, outcome.error.message))
        span.set_attribute("nnpm.reason", outcome.error.reason)
