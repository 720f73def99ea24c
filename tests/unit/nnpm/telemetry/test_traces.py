"""Spans that leave a process, taken by a real OTLP receiver."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

TRACER = """
from nnpm.settings import ServiceSettings
from nnpm.telemetry import traces
from opentelemetry import trace

settings = ServiceSettings.load(["--otlp-endpoint", "{endpoint}", "--trace-sample-ratio", "{ratio}"])
shutdown = traces.configure(settings, "worker")
with trace.get_tracer("t").start_as_current_span("work"):
    pass
shutdown()
"""


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []

    def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        for group in request.resource_spans:
            names = {a.key: a.value.string_value for a in group.resource.attributes}
            self.spans += [(names["service.name"], span.name) for scope in group.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    servicer, server = Receiver(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(0)


@pytest.mark.parametrize(("ratio", "expected"), [("1", [("nnpm-worker", "work")]), ("0", [])])
def test_spans_are_exported_as_sampled(receiver: Any, ratio: str, expected: list[tuple[str, str]]) -> None:
    servicer, endpoint = receiver
    script = TRACER.format(endpoint=endpoint, ratio=ratio)
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)
    assert servicer.spans == expected


def test_without_a_receiver_nothing_is_recorded() -> None:
    script = TRACER.format(endpoint="", ratio="1").replace(
        "    pass", "    assert not trace.get_current_span().is_recording()"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=True).returncode == 0


def test_a_receiver_that_is_gone_does_not_hold_up_the_end() -> None:
    """An address that nobody answers at: a container's collector that was stopped first."""
    script = TRACER.format(endpoint="http://192.0.2.1:4317", ratio="1").replace(
        "shutdown()\n", "import time; begin = time.monotonic(); shutdown(); assert time.monotonic() - begin < 3\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=True).returncode == 0
