"""Which calls get a span, whatever blocks they come in."""

from random import Random

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls
from nnpm_scheduler.dispatch.tracing import CallSpan, CallTracer
from support.core import call_of
from support.front import echo_request

TRACE = "0af7651916cd43dd8448eb211c80319c"
BODY = echo_request()


def recording() -> tuple[trace.Tracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter


def pieces(tracer: CallTracer, calls: list[AioCall]) -> list[tuple[Calls, CallSpan | None]]:
    """The block that `begin` makes of them, after it was seen that nothing was lost, doubled or moved."""
    parts = list(tracer.begin(AioCalls(list(calls))))
    found = [call for part, _ in parts for call in part._calls]  # type: ignore[attr-defined]
    assert found == calls
    assert all(len(part) == 1 for part, span in parts if span is not None)
    assert all(len(part) for part, _ in parts)
    return parts


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
async def test_the_share_of_sampled_calls_is_the_ratio_whatever_the_blocks(ratio: float) -> None:
    tracer = CallTracer(recording()[0], ratio, Random(7))
    sizes, sampled, calls = Random(3), 0, 0
    block = [call_of(BODY) for _ in range(200)]
    while calls < 40_000:
        some = block[: sizes.randint(1, 200)]
        sampled += sum(span is not None for _, span in pieces(tracer, some))
        calls += len(some)
    assert abs(sampled / calls - ratio) < 4 * (ratio * (1 - ratio) / calls) ** 0.5


async def test_no_more_than_so_many_a_second_are_sampled() -> None:
    now = 100.0
    tracer = CallTracer(recording()[0], 0.5, Random(7), per_second=10, clock=lambda: now)
    sampled = []
    for _ in range(50):
        found = pieces(tracer, [call_of(BODY) for _ in range(200)])
        sampled.append(sum(span is not None for _, span in found))
        now += 0.05
    assert sampled == [1, 0] * 25


async def test_a_ratio_of_one_samples_every_call_and_of_zero_none() -> None:
    calls = [call_of(BODY) for _ in range(5)]
    spans = [span for _, span in pieces(CallTracer(recording()[0], 1.0, Random(1)), calls)]
    assert len([span for span in spans if span is not None and span.traceparent]) == 5
    spans = [span for _, span in pieces(CallTracer(recording()[0], 1.0, Random(1), per_second=1), calls)]
    assert None not in spans, "and has no limit"
    assert len(pieces(CallTracer(recording()[0], 0.0, Random(1)), calls)) == 1
    assert len(pieces(CallTracer(None, 1.0, Random(1)), calls)) == 1


@pytest.mark.parametrize("sampled", [True, False])
async def test_a_callers_decision_is_kept_whatever_the_ratio(sampled: bool) -> None:
    came = f"00-{TRACE}-b7ad6b7169203331-0{int(sampled)}"
    tracer, exporter = recording()
    for ratio in (0.0, 1.0):
        ((_, span),) = pieces(CallTracer(tracer, ratio, Random(1)), [call_of(BODY, traceparent=came)])
        assert (span is not None) == sampled
        if span is not None:
            assert span.traceparent.startswith(f"00-{TRACE}-")
            assert "b7ad6b7169203331" not in span.traceparent
            span.end()
    assert len(exporter.get_finished_spans()) == 2 * sampled


async def test_without_a_tracer_a_sampled_context_passes_as_it_came() -> None:
    came = f"00-{TRACE}-b7ad6b7169203331-01"
    ((_, span),) = pieces(CallTracer(None, 0.0, Random(1)), [call_of(BODY, traceparent=came)])
    assert span is not None
    assert span.traceparent == came
    span.end()
