"""The last traces: bounded, whole, with the batches that served them."""

from nnpm.mesh.trace_ring import Span, SpanLink, TraceRing


def span(trace: str, name: str, parent: str = "", start: int = 0, links: tuple[SpanLink, ...] = ()) -> Span:
    return Span(trace, f"{trace}-{name}", parent and f"{trace}-{parent}", name, "nnpm-test", start, 10, links=links)


def names(ring: TraceRing, trace: str) -> list[str]:
    return [span.name for span in ring.spans_of(trace)]


def test_spans_of_a_trace_come_in_the_order_of_their_start() -> None:
    ring = TraceRing()
    ring.add([span("t", "late", start=5), span("other", "x")])
    ring.add([span("t", "early", start=1)])
    assert names(ring, "t") == ["early", "late"]
    assert names(ring, "unknown") == []


def test_only_the_last_traces_are_kept() -> None:
    ring = TraceRing(traces=3)
    ring.add(span(f"t{number}", "root") for number in range(5))
    assert [summary.trace_id for summary in ring.summaries()] == ["t4", "t3", "t2"]
    assert names(ring, "t1") == []


def test_a_trace_that_never_ends_is_cut() -> None:
    ring = TraceRing(spans=4)
    ring.add(span("t", str(number)) for number in range(10))
    assert len(ring.spans_of("t")) == 4


def test_many_spans_in_all_push_the_oldest_traces_out_early() -> None:
    ring = TraceRing(total=5)
    for trace in ("a", "b", "c"):
        ring.add(span(trace, str(number)) for number in range(2))
        ring.add([span(trace, "0")])  # sent twice, counted once
    assert [summary.trace_id for summary in ring.summaries()] == ["c", "b"]


def test_a_trace_shows_the_batch_that_served_it_and_nothing_else_of_that_trace() -> None:
    ring = TraceRing()
    ring.add([span("call", "infer", start=1), span("call", "queue", "infer", start=2)])
    link = SpanLink("call", "call-queue")
    ring.add([span("batch", "before"), span("batch", "run", "before", 3, (link,)), span("batch", "session", "run", 4)])
    assert names(ring, "call") == ["infer", "queue", "run", "session"]


def test_a_batch_that_was_pushed_out_is_forgotten_with_its_links() -> None:
    ring = TraceRing(traces=2)
    ring.add([span("batch", "run", links=(SpanLink("call", "call-infer"),)), span("call", "infer"), span("new", "x")])
    assert names(ring, "call") == ["infer"]
    assert ring._linked_from == {}


def test_a_summary_names_the_root_and_the_whole_length() -> None:
    ring = TraceRing()
    ring.add([span("t", "child", "root", start=105), span("t", "root", "remote", start=100)])
    (summary,) = ring.summaries()
    assert (summary.root_name, summary.start_ns, summary.duration_ns, summary.span_count) == ("root", 100, 15, 2)
