"""The last traces of a mesh, in memory: spans come in any order, whole traces leave, the oldest first."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

TRACES = 1_000
SPANS_PER_TRACE = 1_000
"""More spans of one trace are dropped: a client that never ends its trace must not fill the memory."""

SPANS = 50_000
"""Of all traces together, about 50 MB; beyond them the oldest traces leave early."""


@dataclass(frozen=True, slots=True)
class SpanLink:
    """Ids in lowercase hex: 32 digits and 16."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span. Times in nanoseconds, `start_ns` since 1970; `parent_span_id` and `error` may be empty."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    service: str
    start_ns: int
    duration_ns: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    links: tuple[SpanLink, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One trace in a list; `root_name` is of the earliest span whose parent is not in the ring."""

    trace_id: str
    root_name: str
    start_ns: int
    duration_ns: int
    span_count: int


class TraceRing:
    """At most `traces` traces, of each at most `spans` spans, and `total` spans in all."""

    def __init__(self, traces: int = TRACES, spans: int = SPANS_PER_TRACE, total: int = SPANS) -> None:
        self._limit = traces
        self._spans_limit = spans
        self._total_limit = total
        self._total = 0
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()
        self._linked_from: dict[str, set[tuple[str, str]]] = {}

    def add(self, spans: Iterable[Span]) -> None:
        """Keep `spans`; one that came before is replaced."""
        for span in spans:
            kept = self._traces.setdefault(span.trace_id, {})
            known = span.span_id in kept
            if known or len(kept) < self._spans_limit:
                kept[span.span_id] = span
                self._total += not known
                for link in span.links:
                    self._linked_from.setdefault(link.trace_id, set()).add((span.trace_id, span.span_id))
            while len(self._traces) > self._limit or (self._total > self._total_limit and len(self._traces) > 1):
                self._forget_oldest()

    def spans_of(self, trace_id: str) -> tuple[Span, ...]:
        """A trace's spans by their start, and with them the spans of other traces that link to it (the batches that
        served it) with all that lies below those. Empty when the trace isn't here."""
        own = self._traces.get(trace_id, {})
        found = {(trace_id, span_id): span for span_id, span in own.items()}
        for other_id, span_id in self._linked_from.get(trace_id, ()):
            other = self._traces.get(other_id, {})
            found.update(((other_id, span.span_id), span) for span in _with_descendants(other, span_id))
        return tuple(sorted(found.values(), key=lambda span: (span.start_ns, -span.duration_ns)))

    def summaries(self) -> Iterator[TraceSummary]:
        """The traces, the one that began to arrive last first."""
        for trace_id, spans in reversed(self._traces.items()):
            if not spans:
                continue
            roots = [span for span in spans.values() if span.parent_span_id not in spans]
            first = min(roots or spans.values(), key=lambda span: span.start_ns)
            end = max(span.start_ns + span.duration_ns for span in spans.values())
            yield TraceSummary(trace_id, first.name, first.start_ns, end - first.start_ns, len(spans))

    def _forget_oldest(self) -> None:
        trace_id, spans = self._traces.popitem(last=False)
        self._total -= len(spans)
        for span in spans.values():
            for link in span.links:
                back = self._linked_from.get(link.trace_id, set())
                back.discard((trace_id, span.span_id))
                if not back:
                    self._linked_from.pop(link.trace_id, None)


def _with_descendants(spans: Mapping[str, Span], span_id: str) -> Iterator[Span]:
    children: dict[str, list[str]] = {}
    for span in spans.values():
        children.setdefault(span.parent_span_id, []).append(span.span_id)
    seen = set()
    waiting = [span_id]
    while waiting:
        current = waiting.pop()
        if current in spans and current not in seen:
            seen.add(current)
            yield spans[current]
            waiting.extend(children.get(current, ()))
