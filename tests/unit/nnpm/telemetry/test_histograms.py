"""Histograms that take many observations at once say what prometheus_client's own would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from nnpm.telemetry.histograms import WeightedHistogram

BOUNDS = (0.0625, 0.25, 1, 10)
VALUES = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 8.0, 64.0)
"""Powers of two: their sums are the same in any order."""


def exposed(registry: CollectorRegistry) -> list[str]:
    """Without the time of creation, which ours has no use for."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\\']), st.sampled_from(VALUES), st.integers(1, 70))))
def test_the_exposition_is_prometheus_clients(observed: list[tuple[str, float, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = WeightedHistogram("h_seconds", "Help.", ("of",), bounds=BOUNDS, registry=ours)
    reference = Histogram("h_seconds", "Help.", ("of",), buckets=BOUNDS, registry=theirs)
    for label, value, count in observed:
        mine.labels(label).observe(value, count)
        for _ in range(count):
            reference.labels(label).observe(value)
    assert exposed(ours) == exposed(theirs)


def test_one_without_labels_has_its_series_once_it_is_used() -> None:
    registry = CollectorRegistry()
    histogram = WeightedHistogram("h", "Help.", bounds=(1, 2), registry=registry)
    histogram.labels().observe(1.5, 3)
    assert registry.get_sample_value("h_count") == 3
    assert registry.get_sample_value("h_sum") == 4.5
    assert registry.get_sample_value("h_bucket", {"le": "2.0"}) == 3
    assert b"h_bucket" in generate_openmetrics(registry)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    WeightedHistogram("h", "Help.", bounds=(1,), registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        WeightedHistogram("h", "Help.", bounds=(1,), registry=registry)
