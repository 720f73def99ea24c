"""The server's span of an inference call, and the context that travels with the request.

A sampled call is a block of its own. A call that is not costs nothing: calls that bring no context are counted until
the next one that is to be sampled.
"""

import math
import time
from collections.abc import Callable, Sequence
from random import Random

from opentelemetry import propagate, trace

from nnpm.errors import NnpmError
from nnpm_scheduler.dispatch.call import METADATA, TRACEPARENT, Calls

_SAMPLED = 1


class CallSpan:
    """The span of one call. `traceparent` is its context for the queue entry; `span` is None where spans go nowhere."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, traceparent: str, span: trace.Span | None) -> None:
        self.traceparent = traceparent
        self._span = span

    def end(self, error: NnpmError | None = None) -> None:
        """The call is answered, or failed."""
        if self._span is None:
            return
        if error is not None:
            self._span.set_attribute("nnpm.reason", error.reason)
            self._span.set_status(trace.StatusCode.ERROR, error.message)
        self._span.end()


class CallTracer:
    """Opens a span for each sampled call.

    Args:
        tracer: samples every root span; None where spans go nowhere: a sampled caller's context is then passed on as
            it came.
        sample_ratio: share of the calls without a context of their own that are sampled.
        random: decides which.
        per_second: of them are sampled at most, unless all are to be.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        tracer: trace.Tracer | None,
        sample_ratio: float,
        random: Random,
        per_second: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracer = tracer
        self._ratio = sample_ratio if tracer is not None else 0.0
        self._random = random
        self._gap = 1.0 / per_second if sample_ratio < 1 else 0.0
        self._clock = clock
        self._rests_until = 0.0
        self._unsampled = self._draw()

    def begin(self, calls: Calls) -> Sequence[tuple[Calls, CallSpan | None]]:
        """The block, cut so that each sampled call is alone with its span."""
        came = calls.metadata[TRACEPARENT]
        if came:
            return [(calls, self._open(calls) if _sampled(came) else None)]
        if len(calls) <= self._unsampled:
            self._unsampled -= len(calls)
            return ((calls, None),)
        parts: list[tuple[Calls, CallSpan | None]] = []
        while len(calls) > self._unsampled and not self._is_resting():
            if self._unsampled:
                parts.append((calls.split(int(self._unsampled)), None))
            self._unsampled = self._draw()
            if len(calls) == 1:
                return [*parts, (calls, self._open(calls))]
            one = calls.split(1)
            parts.append((one, self._open(one)))
        self._unsampled = max(0, self._unsampled - len(calls))
        return [*parts, (calls, None)]

    def _is_resting(self) -> bool:
        """Asked where a call is due to be sampled: notes that it is, if it may be."""
        if not self._gap:
            return False
        now = self._clock()
        if now < self._rests_until:
            return True
        self._rests_until = now + self._gap
        return False

    def _draw(self) -> float:
        """How many calls pass before the next sampled one (geometric distribution)."""
        if self._ratio <= 0:
            return math.inf
        if self._ratio >= 1:
            return 0
        return int(math.log(1.0 - self._random.random()) / math.log(1.0 - self._ratio))

    def _open(self, calls: Calls) -> CallSpan:
        carrier = dict(zip(METADATA, calls.metadata, strict=True))
        if self._tracer is None:
            return CallSpan(calls.metadata[TRACEPARENT], None)
        span = self._tracer.start_span(
            f"inference.GRPCInferenceService/{calls.method}",
            propagate.extract({key: value for key, value in carrier.items() if value}),
            trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc"},
        )
        injected: dict[str, str] = {}
        propagate.inject(injected, trace.set_span_in_context(span))
        return CallSpan(injected.get("traceparent", ""), span)


def _sampled(traceparent: str) -> bool:
    """https://www.w3.org/TR/trace-context/#trace-flags: the last field's lowest bit."""
    flags = traceparent.rpartition("-")[2][:2]
    try:
        return bool(int(flags, 16) & _SAMPLED)
    except ValueError:
        return False
