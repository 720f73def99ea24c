"""A replica that takes requests: what waits for it, when its next batch starts, and how much of it may be read."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnpm_worker.hands import Held
from nnpm_worker.pace import Pace
from nnpm_worker.patience import Patience
from nnpm_worker.reader import Reader
from nnpm_worker.replica import Replica
from nnpm_worker.requests import Job
from nnpm_worker.timer import PreciseTimer

_MOST_CLAIMED = 128 * 1024 * 1024
"""Bytes of large bodies that are fetched for one batch."""

_AHEAD_SECONDS = 0.001
"""So long before its run's end the next batch is read: some answers of Redis."""

_EARLY_SECONDS = 50e-6
"""A timer may ring so much too early."""

_LONG_SECONDS = 0.002
"""A run from which on an entry had better be another worker's than wait for its end."""


@dataclass(slots=True, eq=False)
class Batch:
    """Entries that run together."""

    entries: Sequence[Held]
    rows: int


class Server:
    """See the module. All times are seconds on the monotonic clock.

    Args:
        replica: runs the batches.
        ring: called when there may be something to start or to read.
    """

    def __init__(self, replica: Replica, ring: Callable[["Server"], None]) -> None:
        self.replica = replica
        self.most = replica.plan.rows
        self.patience: Patience = replica.revision.batching.patience(self.most)
        self.reader: Reader
        """Set by whoever serves it."""
        self.running = 0
        """Batches that were started and have not ended."""
        self.leaving = False
        self.left = asyncio.Event()
        """Set once nothing of it is in hand any more, and nothing will be."""
        self._steady = replica.steady
        """Whether one knows when a run ends; else nothing is read while it runs: another worker may be free earlier."""
        self._pace = Pace(steady=replica.steady)
        self._waiting: deque[Held] = deque()
        self._rows = 0
        self._rows_per_entry = 1.0
        self._ends = math.inf
        self._timer = PreciseTimer(lambda: ring(self))

    def close(self) -> None:
        """Nothing is in hand."""
        self._timer.close()

    def add(self, held: Held) -> None:
        """An entry came."""
        rows = held.rows
        self._waiting.append(held)
        self._rows += rows
        self._rows_per_entry += 0.2 * (rows - self._rows_per_entry)
        for job in held.jobs:
            self.patience.returns.arrived(job.rows, job.admitted_ns / 1e9)

    @property
    def entries_wanted(self) -> int:
        """How many entries to read now: what can be started now, or once the run that is about to end has ended.

        No earlier, so that an idle worker gets what comes meanwhile; and not at all where nobody knows when a run ends.
        """
        if self.leaving or self._rows >= self.most:
            return 0
        if self.running and not (self._steady and time.monotonic() >= self._ends - _AHEAD_SECONDS - _EARLY_SECONDS):
            return 0
        return max(1, round((self.most - self._rows) / self._rows_per_entry))

    def next_batch(self) -> Batch | None:
        """What is to be started now. While something runs only what is full: else it could still get company."""
        if not self._waiting or self.running > 1:
            return None
        if self.running:
            return self._take() if self._rows >= self.most > 1 else None
        wait = self._wait()
        if wait > 0:
            self._timer.set(wait)
            return None
        return self._take()

    def started(self, batch: Batch) -> None:
        """A batch is run; the next is read shortly before it ends."""
        now = time.monotonic()
        cost = self.patience.costs.of(batch.rows)
        begins = self._ends if self.running and self._ends < math.inf else now
        self._ends = begins + cost if cost else math.inf
        self.running += 1
        if not self._steady or self._ends - now > _LONG_SECONDS:
            self.reader.end_read()
        if self._steady and _AHEAD_SECONDS < self._ends - now < math.inf:
            self._timer.set(self._ends - _AHEAD_SECONDS - now)

    def is_short(self, jobs: Sequence[Job]) -> bool:
        """Whether they are run on the event loop; not while the model's own thread runs something."""
        return self.running == 1 and self._pace.is_short(jobs)

    def ended(self, batch: Batch, jobs: Sequence[Job], seconds: float) -> None:
        """A batch has run, for so long, and is being answered."""
        self.running -= 1
        self.patience.costs.learn(batch.rows, seconds)
        self._pace.learn(jobs, seconds)
        self.patience.returns.answered(batch.rows, time.monotonic())

    def _wait(self) -> float:
        """How long the next batch waits for company yet."""
        if self.most == 1 or self.leaving:
            return 0.0
        since = self._waiting[0].jobs[0].received_ns / 1e9
        return self.patience.seconds(self._rows, since, time.monotonic())

    def _take(self) -> Batch:
        """The next entries: about one batch of rows, and no more claimed bytes than fit in memory."""
        most = self.patience.fitting(self._rows)
        taken: list[Held] = []
        rows = claimed = 0
        while self._waiting:
            held = self._waiting[0]
            claimed += held.claimed_bytes
            if taken and (rows + held.rows > most or claimed > _MOST_CLAIMED):
                break
            taken.append(self._waiting.popleft())
            rows += held.rows
        self._rows -= rows
        return Batch(taken, rows)
