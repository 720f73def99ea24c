"""Histograms that take many equal observations at once: what a batch has in common is counted once a batch."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Series:
    """One series: counts by bucket, and the sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """`count` observations of `value`."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count


class WeightedHistogram(Collector):
    """A Prometheus histogram with labels.

    Observed on one thread and scraped on another: a scrape may see a batch's count without its sum, never half a count.

    Args:
        name: of the metric.
        documentation: its help text.
        labels: names of the labels.
        bounds: upper bounds of the buckets, rising, without infinity.
        registry: where it is scraped.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series of these label values; keep it where it is observed often."""
        found = self._series.get(values)
        if found is None:
            found = self._series.setdefault(values, Series(self._bounds))
        return found

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The name alone: the registry refuses a second metric of that name."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What prometheus_client's registry asks for."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        uppers = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            buckets, reached = [], 0
            for upper, count in zip(uppers, list(series.counts), strict=True):
                reached += count
                buckets.append((upper, float(reached)))
            family.add_metric(values, buckets, series.total)
        yield family
