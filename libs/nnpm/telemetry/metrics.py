"""The Prometheus series of every service, named in one place: the ten that an operator opens first."""

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server

from nnpm.errors import Unavailable
from nnpm.rpc.tls import check_listen
from nnpm.telemetry.histograms import WeightedHistogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One process's series, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nnpm_requests", "Calls answered, by method and status code.", ("method", "code"), registry=self.registry
        )
        self.errors = Counter("nnpm_errors", "Calls failed, by reason.", ("reason",), registry=self.registry)
        self.latency = WeightedHistogram(
            "nnpm_request_seconds",
            "Time from a call's arrival to its answer.",
            ("method",),
            bounds=_SECONDS,
            registry=self.registry,
        )
        self.queue_time = WeightedHistogram(
            "nnpm_queue_seconds",
            "Time an inference request waited before its batch began.",
            ("revision",),
            bounds=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = WeightedHistogram(
            "nnpm_batch_rows", "Rows joined in one run.", ("revision",), bounds=_ROWS, registry=self.registry
        )
        self.in_flight = Gauge("nnpm_in_flight_calls", "Calls being worked on.", registry=self.registry)
        self.loaded_models = Gauge("nnpm_loaded_models", "Model replicas in memory.", registry=self.registry)
        self.cache = Counter(
            "nnpm_cache_lookups", "Lookups in the worker's file cache.", ("outcome",), registry=self.registry
        )
        self.bytes = Counter(
            "nnpm_bytes", "Bytes of artifacts and tensors moved.", ("direction",), registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    def serve(self, listen: str, *, insecure: bool) -> None:
        """Answer `GET /metrics` on `host:port` from a thread; an empty `listen` is off."""
        if not listen:
            return
        check_listen(listen, secure=False, insecure_allowed=insecure)
        host, _, port = listen.rpartition(":")
        try:
            start_http_server(int(port), host.strip("[]"), self.registry)
        except (OSError, ValueError) as error:
            raise Unavailable("ADDRESS_IN_USE", f"cannot serve metrics on {listen}: {error}") from None
