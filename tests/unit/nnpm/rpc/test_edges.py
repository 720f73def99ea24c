"""What crosses the wire when a call fails, seen by nnpm's own client and by a foreign one."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import BY_CODE, FieldViolation, ResourceExhausted, Unavailable
from nnpm.rpc.channels import open_channel
from nnpm.rpc.server import GrpcServer
from nnpm.telemetry.metrics import Metrics
from support.ports import free_port

ERROR = ResourceExhausted(
    "MESSAGE_TOO_LARGE",
    "too much",
    hint="send less",
    metadata={"limit": "3"},
    violations=[FieldViolation("inputs[0]", "is large")],
    retry_after=1.25,
)


async def call(server: GrpcServer, **options: Any) -> trace_pb2.GetTraceResponse:
    async with open_channel(server.address, retries=False) as channel:
        return await trace_pb2_grpc.TraceServiceStub(channel).GetTrace(
            trace_pb2.GetTraceRequest(trace_id="a"), **options
        )


async def test_an_answer_comes_through(server: GrpcServer, metrics: Metrics) -> None:
    assert (await call(server)).spans[0].name == "a"
    labels = {"method": "/nnpm.api.mesh.v1.TraceService/GetTrace", "code": "OK"}
    assert metrics.registry.get_sample_value("nnpm_requests_total", labels) == 1


@pytest.mark.parametrize("code", sorted(set(BY_CODE) - {"CANCELLED"}))
async def test_every_class_of_error_comes_back_as_itself(server: GrpcServer, traces: Any, code: str) -> None:
    traces.error = BY_CODE[code]("INTERNAL_ERROR", f"it is {code}")
    with pytest.raises(BY_CODE[code]) as caught:
        await call(server)
    assert (type(caught.value), caught.value.message) == (BY_CODE[code], f"it is {code}")


async def test_reason_hint_metadata_violations_and_delay_survive_the_wire(server: GrpcServer, traces: Any) -> None:
    traces.error = ERROR
    with pytest.raises(ResourceExhausted) as caught:
        await call(server)
    got = caught.value
    assert (got.reason, got.hint, got.metadata) == ("MESSAGE_TOO_LARGE", "send less", {"limit": "3"})
    assert (got.violations, got.retry_after) == (ERROR.violations, 1.25)


async def test_a_foreign_client_reads_standard_details(bare_channel: grpc.aio.Channel, traces: Any) -> None:
    traces.error = ERROR
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trace_pb2_grpc.TraceServiceStub(bare_channel).GetTrace(trace_pb2.GetTraceRequest())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    assert [detail.Unpack(kind) for detail, kind in zip(status.details, (info, bad, retry), strict=True)] == [True] * 3
    assert (info.domain, info.reason) == ("nnpm", "MESSAGE_TOO_LARGE")


async def test_a_fault_of_the_service_shows_no_traceback(server: GrpcServer, traces: Any, metrics: Metrics) -> None:
    traces.error = ZeroDivisionError("secret detail")
    with pytest.raises(BY_CODE["INTERNAL"]) as caught:
        await call(server)
    assert caught.value.reason == "INTERNAL_ERROR"
    assert "secret" not in caught.value.message
    assert metrics.registry.get_sample_value("nnpm_errors_total", {"reason": "INTERNAL_ERROR"}) == 1


async def test_bytes_that_are_no_message_are_the_callers_fault(bare_channel: grpc.aio.Channel) -> None:
    method = bare_channel.unary_unary("/nnpm.api.mesh.v1.TraceService/GetTrace")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"\xff\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert b"MALFORMED_REQUEST" in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]


async def test_a_server_that_is_not_there_is_named() -> None:
    unused_port = free_port()
    async with open_channel(f"127.0.0.1:{unused_port}", retries=False) as channel:
        with pytest.raises(Unavailable, match=str(unused_port)) as caught:
            await trace_pb2_grpc.TraceServiceStub(channel).GetTrace(trace_pb2.GetTraceRequest(), timeout=5)
    assert (caught.value.reason, "nnpm up" in caught.value.hint) == ("SERVER_UNREACHABLE", True)


async def test_the_callers_trace_goes_along(server: GrpcServer, traces: Any) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
        await call(server)
        expected = trace.format_trace_id(span.get_span_context().trace_id)
    assert traces.metadata["traceparent"].split("-")[1] == expected


async def test_a_unary_call_without_a_deadline_gets_one(server: GrpcServer, traces: Any) -> None:
    await call(server)
    assert 0 < traces.remaining < 61
    await call(server, timeout=5)
    assert 0 < traces.remaining < 6
