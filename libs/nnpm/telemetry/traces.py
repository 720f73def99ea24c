"""OpenTelemetry traces: W3C context, OTLP export over gRPC, nothing at all where no receiver is named."""

from collections.abc import Callable
from importlib.metadata import version
from threading import Thread

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from nnpm.settings import ServiceSettings

LAST_SPANS_S = 1.0
"""How long a process that ends waits for a receiver to take its last spans: one that is gone must not hold it up."""

EXPORT_INTERVAL_MS = 200
"""How long a finished span waits for company; short, so that `nnpm infer --trace` finds it soon."""


def configure(settings: ServiceSettings, service: str) -> Callable[[], None]:
    """Export this process's spans as `nnpm-SERVICE`; returns what to call at the end, to send the last ones.

    Without `otlp_endpoint` the API's no-op tracer stays in place, which costs next to nothing a call.
    """
    if not settings.otlp_endpoint:
        return lambda: None
    return export(f"nnpm-{service}", settings.otlp_endpoint, settings.trace_sample_ratio)


def export(service_name: str, endpoint: str, sample_ratio: float) -> Callable[[], None]:
    """Send spans of `service_name` to `endpoint` (`http://host:port`); a caller's own sampling decision is kept."""
    provider = open_provider(service_name, endpoint, TraceIdRatioBased(sample_ratio))
    trace.set_tracer_provider(provider)
    return lambda: end(provider)


def open_provider(service_name: str, endpoint: str, root: Sampler) -> TracerProvider:
    """A provider that exports to `endpoint`. `root` decides on spans without a parent; its user calls `end`."""
    provider = TracerProvider(
        sampler=ParentBased(root),
        resource=Resource.create({"service.name": service_name, "service.version": version("nnpm")}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_INTERVAL_MS))
    return provider


def end(provider: TracerProvider) -> None:
    """Shut it down, in a thread that may be left behind: an export goes on until its own, longer timeout."""
    last = Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(LAST_SPANS_S)
