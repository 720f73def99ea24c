"""Counts answers for Prometheus and for ModelStatistics. Labelled series are looked up once, not once a call."""

import time

from nnpm.errors import NnpmError
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.dispatch.call import Outcome
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

    def accepted(self, size: int) -> None:
        """A call with a body of so many bytes is in flight."""
        self._metrics.in_flight.inc()
        self._received.inc(size)

    def refused(self, error: NnpmError) -> None:
        """A call was answered without having been in flight."""
        self._metrics.requests.labels(METHOD, error.code).inc()
        self._metrics.errors.labels(error.reason).inc()

    def answered(self, flight: Flight, outcome: Outcome, figures: BatchFigures | None = None) -> None:
        """A call that was in flight got its answer."""
        self._metrics.in_flight.dec()
        total_ns = time.monotonic_ns() - flight.admitted_ns
        self._latency.observe(total_ns / 1e9)
        statistics = self._statistics.of(flight.revision)
        if isinstance(outcome, NnpmError):
            self.refused(outcome)
            statistics.fail.add(total_ns)
            return
        self._ok.inc()
        self._sent.inc(len(outcome))
        if figures is not None:
            waited_ns = statistics.succeeded(total_ns, figures)
            self._metrics.queue_time.labels(flight.revision).observe(waited_ns / 1e9)

    def cancelled(self, calls: int) -> None:
        """Nobody waits for so many calls any more."""
        if calls:
            self._metrics.in_flight.dec(calls)
            self._metrics.requests.labels(METHOD, "CANCELLED").inc(calls)

    def ran(self, revision: str, figures: BatchFigures) -> None:
        """A worker ran a batch."""
        self._statistics.of(revision).ran(figures)
