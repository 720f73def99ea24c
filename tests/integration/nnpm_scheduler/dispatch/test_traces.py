"""One trace goes through: the caller's context into the entry, and a server span where spans are exported."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from nnpm.api.inference import inference_pb2 as pb
from support.front import HandWorker, echo_request, running_front

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


def recording() -> tuple[trace.Tracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter


async def test_a_sampled_callers_trace_gets_a_server_span_that_the_entry_names(redis_url: str) -> None:
    tracer, exporter = recording()
    async with running_front(redis_url, tracer=tracer) as front, HandWorker(front) as worker:
        await front.infer(echo_request(), metadata=[("traceparent", SAMPLED)])
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("inference.GRPCInferenceService/ModelInfer", trace.SpanKind.SERVER)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert worker.seen[0].traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"


async def test_a_failed_calls_span_says_why(redis_url: str) -> None:
    tracer, exporter = recording()
    async with running_front(redis_url, tracer=tracer) as front:
        with pytest.raises(Exception, match="no deployment"):
            await front.infer(echo_request(model="unknown"), metadata=[("traceparent", SAMPLED)])
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["nnpm.reason"] == "MODEL_NOT_FOUND"
    assert span.status.status_code is trace.StatusCode.ERROR


@pytest.mark.parametrize("came", [UNSAMPLED, "", "nonsense", "00-zz"])
async def test_what_is_not_sampled_leaves_no_span_and_no_context(redis_url: str, came: str) -> None:
    tracer, exporter = recording()
    async with running_front(redis_url, tracer=tracer) as front, HandWorker(front) as worker:
        await front.infer(echo_request(), metadata=[("traceparent", came)] if came else [])
    assert exporter.get_finished_spans() == ()
    assert worker.seen[0].traceparent == ""


async def test_the_ratio_decides_where_the_caller_has_not(redis_url: str) -> None:
    tracer, exporter = recording()
    async with running_front(redis_url, tracer=tracer, sample_ratio=1.0) as front, HandWorker(front) as worker:
        await front.infer(echo_request())
    (span,) = exporter.get_finished_spans()
    # Flags: sampled, and perhaps "the trace id is random" beside it.
    wanted = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-0"
    assert worker.seen[0].traceparent in {wanted + "1", wanted + "3"}


async def test_without_an_exporter_a_sampled_context_goes_on_as_it_came(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front) as worker:
        await front.infer(echo_request(), metadata=[("traceparent", SAMPLED)])
        await front.infer(echo_request(), metadata=[("traceparent", UNSAMPLED)])
    assert [request.traceparent for request in worker.seen] == [SAMPLED, ""]


async def test_each_request_of_a_stream_has_a_span_of_its_own_in_the_streams_trace(redis_url: str) -> None:
    tracer, exporter = recording()
    async with (
        running_front(redis_url, tracer=tracer) as front,
        HandWorker(front) as worker,
        front.channel() as channel,
    ):
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        requests = iter([echo_request(), echo_request()])
        answers = [answer async for answer in stream(requests, timeout=10, metadata=(("traceparent", SAMPLED),))]
    assert [pb.ModelStreamInferResponse.FromString(answer).error_message for answer in answers] == ["", ""]
    spans = exporter.get_finished_spans()
    assert {span.name for span in spans} == {"inference.GRPCInferenceService/ModelStreamInfer"}
    wanted = {f"00-{TRACE}-{span.context.span_id:016x}-01" for span in spans}
    assert {asked.traceparent for asked in worker.seen} == wanted
    assert len(wanted) == 2


async def test_the_calls_are_counted(redis_url: str) -> None:
    async with running_front(redis_url) as front, HandWorker(front):
        answer = await front.infer(echo_request())
        with pytest.raises(Exception, match="no deployment"):
            await front.infer(echo_request(model="unknown"))
        method = "/inference.GRPCInferenceService/ModelInfer"

        def sample(name: str, **labels: str) -> float | None:
            return front.metrics.registry.get_sample_value(name, labels)

        assert sample("nnpm_requests_total", method=method, code="OK") == 1
        assert sample("nnpm_requests_total", method=method, code="NOT_FOUND") == 1
        assert sample("nnpm_errors_total", reason="MODEL_NOT_FOUND") == 1
        assert sample("nnpm_request_seconds_count", method=method) == 1
        assert sample("nnpm_queue_seconds_count", revision="acme-echo.1") == 1
        assert sample("nnpm_in_flight_calls") == 0
        assert sample("nnpm_bytes_total", direction="received") == len(echo_request())
        sent = sample("nnpm_bytes_total", direction="sent")
        assert sent is not None
        assert 0 <= len(answer) - sent <= 4  # the tensor's tag and length are not counted
