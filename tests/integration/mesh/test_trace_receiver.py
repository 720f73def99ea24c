"""Spans in over OTLP, traces out over the mesh's own service, and on to another receiver."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode, format_trace_id

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import InvalidArgument, NotFound
from nnpm.mesh.trace_service import TraceReceiver
from nnpm.mesh.traces import fetch_trace
from nnpm.rpc.channels import open_channel
from support.waiting import eventually


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[TraceReceiver]:
    async with TraceReceiver(f"unix:{tmp_path / 't.sock'}") as receiver:
        yield receiver


def exporting_to(address: str, service: str = "nnpm-test") -> TracerProvider:
    """A provider that sends each span as soon as it ends, in the thread that ends it."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True, timeout=5)))
    return provider


def one_call(address: str) -> str:
    """A call with a batch linked to it, exported; its trace id."""
    tracer = exporting_to(address).get_tracer("test")
    with tracer.start_as_current_span("infer", attributes={"nnpm.rows": 3}) as call:
        with tracer.start_as_current_span("queue"):
            pass
        context = call.get_span_context()
    batch = tracer.start_span("batch", context=None, links=[Link(context)])
    batch.set_status(Status(StatusCode.ERROR, "no memory"))
    batch.end()
    return format_trace_id(context.trace_id)


async def in_thread(address: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(None, one_call, address)


async def test_what_is_exported_over_otlp_is_read_back_with_its_batch(receiver: TraceReceiver) -> None:
    trace_id = await in_thread(receiver.address)
    spans = await fetch_trace(receiver.address, trace_id, 5.0)
    assert {span.name for span in spans} == {"infer", "queue", "batch"}
    infer, queue, batch = (next(span for span in spans if span.name == name) for name in ("infer", "queue", "batch"))
    assert (infer.service, infer.attributes["nnpm.rows"]) == ("nnpm-test", "3")
    assert queue.parent_span_id == infer.span_id
    assert batch.links[0].span_id == infer.span_id
    assert batch.error == "no memory"
    assert infer.duration_ns >= queue.duration_ns > 0


async def test_a_trace_that_is_not_here_is_not_found(receiver: TraceReceiver) -> None:
    with pytest.raises(NotFound) as caught:
        await fetch_trace(receiver.address, "0" * 32, 0.2)
    assert caught.value.reason == "TRACE_NOT_FOUND"


async def test_traces_are_listed_in_pages_newest_first(receiver: TraceReceiver) -> None:
    ids = [await in_thread(receiver.address) for _ in range(3)]
    async with open_channel(receiver.address) as channel:
        stub = trace_pb2_grpc.TraceServiceStub(channel)
        listed, token = [], ""
        while True:
            page = await stub.ListTraces(trace_pb2.ListTracesRequest(page_size=2, page_token=token))
            assert len(page.traces) <= 2
            listed += [trace.trace_id for trace in page.traces if trace.root_name == "infer"]
            token = page.next_page_token
            if not token:
                break
        assert listed == ids[::-1]
        with pytest.raises(InvalidArgument) as caught:
            await stub.ListTraces(trace_pb2.ListTracesRequest(page_size=-1))
        assert caught.value.reason == "INVALID_PAGE_SIZE"


async def test_spans_are_passed_on_and_a_receiver_that_is_away_harms_nothing(tmp_path: Path) -> None:
    far, near = f"unix:{tmp_path / 'far.sock'}", f"unix:{tmp_path / 'near.sock'}"
    async with TraceReceiver(near, forward=far):
        lost = await in_thread(near)
        assert len(await fetch_trace(near, lost, 5.0)) == 3
        async with TraceReceiver(far):

            async def arrives() -> bool:
                trace_id = await in_thread(near)
                return len(await fetch_trace(far, trace_id, 1.0)) == 3

            await eventually(arrives, 10.0)
