"""A trace drawn as a tree."""

import io

from rich.console import Console

from nnpm.mesh.trace_ring import Span, SpanLink
from nnpm.mesh.trace_tree import arrange, render_tree

CLIENT = Span("t", "c", "", "infer", "nnpm-client", 1_000_000, 9_000_000)
SERVER = Span("t", "s", "c", "ModelInfer", "nnpm-scheduler", 2_000_000, 7_000_000, {"nnpm.revision": "r1", "x": "y"})
BATCH = Span("t", "b", "gone", "batch", "nnpm-worker", 3_000_000, 4_000_000, links=(SpanLink("t", "s"),))
RUN = Span("t", "r", "b", "run", "nnpm-worker", 4_000_000, 2_500_000, error="out of memory")


def test_a_batch_hangs_below_the_call_that_it_links_to() -> None:
    (client,) = arrange([RUN, BATCH, SERVER, CLIENT])
    (server,) = client.children
    (batch,) = server.children
    assert (client.span, server.span, batch.span, batch.linked) == (CLIENT, SERVER, BATCH, True)
    assert [child.span for child in batch.children] == [RUN]


def test_a_span_without_its_parent_is_a_root() -> None:
    assert [node.span for node in arrange([RUN, CLIENT])] == [CLIENT, RUN]


def test_spans_that_name_each_other_as_parents_do_not_hang_the_drawing() -> None:
    one, two = Span("t", "1", "2", "one", "", 0, 1), Span("t", "2", "1", "two", "", 0, 1)
    assert arrange([one, two]) == ()
    three, four = (
        Span("t", "3", "x", "three", "", 0, 1, links=(SpanLink("t", "4"),)),
        Span("t", "4", "y", "four", "", 0, 1, links=(SpanLink("t", "3"),)),
    )
    assert arrange([three, four]) == ()


def test_every_line_has_name_service_length_and_offset() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(render_tree([CLIENT, SERVER, BATCH, RUN]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "infer nnpm-client 9.00 ms at 0.00 ms" in text
    assert "ModelInfer nnpm-scheduler 7.00 ms at 1.00 ms revision=r1" in text
    assert "batch (linked) nnpm-worker 4.00 ms at 2.00 ms" in text
    assert "run nnpm-worker 2.50 ms at 3.00 ms out of memory" in text
