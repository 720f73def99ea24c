"""The Prometheus endpoint, read over HTTP."""

import urllib.request

import pytest

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.telemetry.metrics import Metrics
from support.ports import free_port


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        return str(response.read().decode())


def test_the_ten_series_are_served() -> None:
    metrics, port = Metrics(), free_port()
    metrics.requests.labels("/m", "OK").inc()
    metrics.errors.labels("DEADLINE_EXCEEDED").inc()
    metrics.latency.labels("/m").observe(0.002)
    metrics.queue_time.labels("r").observe(0.001)
    metrics.batch_size.labels("r").observe(3)
    metrics.cache.labels("hit").inc()
    metrics.bytes.labels("read").inc(5)
    metrics.serve(f"127.0.0.1:{port}", insecure=False)
    text = scrape(port)
    for series in (
        'nnpm_requests_total{code="OK",method="/m"} 1.0',
        'nnpm_errors_total{reason="DEADLINE_EXCEEDED"} 1.0',
        'nnpm_request_seconds_bucket{le="0.0025",method="/m"} 1.0',
        'nnpm_queue_seconds_count{revision="r"} 1.0',
        'nnpm_batch_rows_sum{revision="r"} 3.0',
        "nnpm_in_flight_calls 0.0",
        "nnpm_loaded_models 0.0",
        'nnpm_cache_lookups_total{outcome="hit"} 1.0',
        'nnpm_bytes_total{direction="read"} 5.0',
        "process_resident_memory_bytes",
    ):
        assert series in text


def test_a_taken_port_is_refused_by_name() -> None:
    port = free_port()
    Metrics().serve(f"127.0.0.1:{port}", insecure=False)
    with pytest.raises(Unavailable, match=str(port)) as caught:
        Metrics().serve(f"127.0.0.1:{port}", insecure=False)
    assert caught.value.reason == "ADDRESS_IN_USE"


def test_beyond_loopback_needs_insecure() -> None:
    with pytest.raises(FailedPrecondition):
        Metrics().serve("0.0.0.0:0", insecure=False)
