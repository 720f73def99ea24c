"""What one measurement gives, and what is made of several of the same point."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a generator against one server.

    Attributes:
        requests: sent and answered.
        per_second: answered requests a second.
        mean, p50, p99: latencies in milliseconds, as the generator saw them.
        cpu: processor seconds by process, the generator's own under `GENERATOR`.
        split: where the server says that its calls spent their time, in microseconds a call; empty where it does not.
    """

    requests: int
    per_second: float
    mean: float
    p50: float
    p99: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    split: Mapping[str, float] = field(default_factory=dict)


GENERATOR = "generator"


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the rounds of one point; `low` and `high` are the rates of its worst and best round.

    `cpu` is in milliseconds per 1,000 requests.
    """

    rounds: int
    per_second: float
    low: float
    high: float
    mean: float
    p50: float
    p99: float
    cpu: Mapping[str, float]
    split: Mapping[str, float]

    @property
    def server_cpu(self) -> float:
        """Of all the server's processes, the generator left out."""
        return sum(value for name, value in self.cpu.items() if name != GENERATOR)


def median_of(samples: Sequence[Sample]) -> Measured:
    """The medians, each figure for itself."""
    rates = [sample.per_second for sample in samples]
    return Measured(
        rounds=len(samples),
        per_second=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        mean=statistics.median(sample.mean for sample in samples),
        p50=statistics.median(sample.p50 for sample in samples),
        p99=statistics.median(sample.p99 for sample in samples),
        cpu=_medians([{name: s * 1e6 / sample.requests for name, s in sample.cpu.items()} for sample in samples]),
        split=_medians([sample.split for sample in samples]),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; `ordered` ascends and is not empty."""
    rank = max(1, -(-len(ordered) * round(share * 10_000) // 10_000))
    return ordered[rank - 1]


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.median(row.get(name, 0.0) for row in rows) for name in names}
