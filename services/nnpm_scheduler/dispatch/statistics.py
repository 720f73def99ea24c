"""What each revision's calls cost, as ModelStatistics reports it: in memory, since the process started."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """What a worker measured of one run: requests and rows joined, nanoseconds for joining, running and splitting."""

    requests: int
    rows: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


@dataclass(slots=True)
class Total:
    """How often, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """`count` times, `ns` in all."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchTotals:
    """Runs of one batch size."""

    compute_input: Total = field(default_factory=Total)
    compute_infer: Total = field(default_factory=Total)
    compute_output: Total = field(default_factory=Total)


@dataclass(slots=True)
class RevisionStatistics:
    """One revision's totals; `inferences` counts rows, `executions` runs, `last_ms` is Unix time in milliseconds."""

    inferences: int = 0
    executions: int = 0
    last_ms: int = 0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    compute_input: Total = field(default_factory=Total)
    compute_infer: Total = field(default_factory=Total)
    compute_output: Total = field(default_factory=Total)
    batches: dict[int, BatchTotals] = field(default_factory=dict)

    def succeeded(self, total_ns: int, figures: BatchFigures, calls: int = 1) -> int:
        """So many calls were answered after `total_ns` each; returns how much of that each waited for its batch."""
        compute_ns = figures.compute_input_ns + figures.compute_infer_ns + figures.compute_output_ns
        waited_ns = max(0, total_ns - compute_ns)
        self.success.add(total_ns * calls, calls)
        self.queue.add(waited_ns * calls, calls)
        self.compute_input.add(figures.compute_input_ns * calls, calls)
        self.compute_infer.add(figures.compute_infer_ns * calls, calls)
        self.compute_output.add(figures.compute_output_ns * calls, calls)
        return waited_ns

    def ran(self, figures: BatchFigures) -> None:
        """A batch was run."""
        self.inferences += figures.rows
        self.executions += 1
        self.last_ms = time.time_ns() // 1_000_000
        batch = self.batches.get(figures.rows)
        if batch is None:
            batch = self.batches[figures.rows] = BatchTotals()
        batch.compute_input.add(figures.compute_input_ns)
        batch.compute_infer.add(figures.compute_infer_ns)
        batch.compute_output.add(figures.compute_output_ns)


class Statistics:
    """All revisions' totals, by revision id."""

    def __init__(self) -> None:
        self._revisions: dict[str, RevisionStatistics] = {}

    def of(self, revision: str) -> RevisionStatistics:
        """The totals of a revision, from zero if it has none yet."""
        found = self._revisions.get(revision)
        if found is None:
            found = self._revisions[revision] = RevisionStatistics()
        return found
