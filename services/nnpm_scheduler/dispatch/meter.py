"""Counts answers for Prometheus and for ModelStatistics, block by block. Labelled series are looked up once."""

import time

from nnpm.errors import NnpmError
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.dispatch.inflight import Flight
from nnpm_scheduler.dispatch.statistics import BatchFigures, Statistics

METHOD = "/inference.GRPCInferenceService/ModelInfer"
"""The label of every inference call, streamed ones included."""


class Meter:
    """The figures of the data path."""

    def __init__(self, metrics: Metrics, statistics: Statistics) -> None:
        self._metrics = metrics
        self._statistics = statistics
        self._ok = metrics.requests.labels(METHOD, "OK")
        self._latency = metrics.latency.labels(METHOD)
        self._received = metrics.bytes.labels("received")
        self._sent = metrics.bytes.labels("sent")

    def accepted(self, flight: Flight) -> None:
        """A block is in flight."""
        self._metrics.in_flight.inc(flight.count)
        self._received.inc(flight.size)

    def refused(self, error: NnpmError, calls: int) -> None:
        """Calls were answered without having been in flight."""
        self._metrics.requests.labels(METHOD, error.code).inc(calls)
        self._metrics.errors.labels(error.reason).inc(calls)

    def succeeded(self, flight: Flight, calls: int, figures: BatchFigures) -> None:
        """So many calls of a block got a worker's reply."""
        self._metrics.in_flight.dec(calls)
        total_ns = time.monotonic_ns() - flight.admitted_ns
        self._latency.observe(total_ns / 1e9, calls)
        self._ok.inc(calls)
        waited_ns = self._statistics.of(flight.revision).succeeded(total_ns, figures, calls)
        self._metrics.queue_time.labels(flight.revision).observe(waited_ns / 1e9, calls)

    def sent(self, size: int) -> None:
        """So many bytes of replies went to clients."""
        self._sent.inc(size)

    def failed(self, flight: Flight, calls: int, error: NnpmError) -> None:
        """So many calls of a block failed."""
        if not calls:
            return
        self._metrics.in_flight.dec(calls)
        total_ns = time.monotonic_ns() - flight.admitted_ns
        self._latency.observe(total_ns / 1e9, calls)
        self._statistics.of(flight.revision).fail.add(total_ns * calls, calls)
        self.refused(error, calls)

    def cancelled(self, calls: int) -> None:
        """Nobody waits for so many calls any more."""
        if calls:
            self._metrics.in_flight.dec(calls)
            self._metrics.requests.labels(METHOD, "CANCELLED").inc(calls)

    def ran(self, revision: str, figures: BatchFigures) -> None:
        """A worker ran a batch."""
        self._statistics.of(revision).ran(figures)
