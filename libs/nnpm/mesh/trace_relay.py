"""Passes received spans on to another OTLP receiver, and never lets it slow the mesh down."""

import asyncio

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from nnpm.errors import NnpmError
from nnpm.rpc.channels import open_channel
from nnpm.telemetry.logs import get_logger

WAITING = 256
"""Requests that wait for a slow receiver; what comes beyond them is dropped and counted."""

TIMEOUT = 5.0
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class TraceRelay:
    """Sends what is offered to `endpoint` (`http://host:port`), in order, each once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._waiting: asyncio.Queue[trace_service_pb2.ExportTraceServiceRequest] = asyncio.Queue(WAITING)
        self.dropped = 0
        """Requests that the receiver did not get."""

    def offer(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Send until cancelled."""
        log = get_logger("traces")
        target = self._endpoint.partition("://")[2] or self._endpoint
        async with open_channel(target, timeout=TIMEOUT, retries=False) as channel:
            export = channel.unary_unary(
                EXPORT,
                request_serializer=trace_service_pb2.ExportTraceServiceRequest.SerializeToString,
                response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString,
            )
            while True:
                request = await self._waiting.get()
                try:
                    await export(request, timeout=TIMEOUT)
                except NnpmError as error:
                    if not self.dropped:
                        log.warning("traces are not passed on", endpoint=self._endpoint, error=error.message)
                    self.dropped += 1
