"""Which batches are so short that they run on the event loop: a hand-over to a thread and back would take longer."""

from collections import Counter
from collections.abc import Sequence

from nnpm.queue.entry import MOST_LAYOUTS, Layout
from nnpm_worker.patience import Costs
from nnpm_worker.requests import Job

_SHORT_SECONDS = 0.0005


class Pace:
    """What batches of one model took, by the exact shapes of their requests.

    Args:
        steady: whether equal shapes take equally long; else no batch is known to be short.
    """

    def __init__(self, *, steady: bool) -> None:
        self._steady = steady
        self._costs: dict[Layout, Costs] = {}

    def is_short(self, jobs: Sequence[Job]) -> bool:
        """Whether they take well under a millisecond together. False for what was not seen yet."""
        if not self._steady:
            return False
        seconds = 0.0
        for layout, count in _shares(jobs):
            costs = self._costs.get(layout) if layout is not None else None
            if costs is None:
                return False
            seconds += costs.of(count)
        return seconds < _SHORT_SECONDS

    def learn(self, jobs: Sequence[Job], seconds: float) -> None:
        """They took so long together."""
        if not self._steady:
            return
        shares = _shares(jobs)
        total = sum([count for _, count in shares])
        for layout, count in shares:
            if layout is not None:
                self._costs_of(layout).learn(count, seconds * count / total)

    def _costs_of(self, layout: Layout) -> Costs:
        costs = self._costs.get(layout)
        if costs is None:
            if len(self._costs) >= MOST_LAYOUTS:
                self._costs.clear()
            costs = self._costs[layout] = Costs()
        return costs


def _shares(jobs: Sequence[Job]) -> Sequence[tuple[Layout | None, int]]:
    """How many requests there are of each layout."""
    if len(jobs) == 1:
        return ((jobs[0].block.layout, jobs[0].block.count),)
    counts: Counter[Layout | None] = Counter()
    for job in jobs:
        counts[job.block.layout] += job.block.count
    return tuple(counts.items())
