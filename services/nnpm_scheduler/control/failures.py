"""What went wrong with loading, and when it may be tried again."""

from collections.abc import Mapping
from dataclasses import dataclass

FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""

LONGEST_WAIT = 30.0

PATIENCE = 5
"""Attempts after which a revision is called failed, although it is tried again."""


WORKER_LOST = "WORKER_LOST"
"""The reason when a worker's Session ended while it was loading."""


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why one attempt failed. `transient`: another attempt may succeed with nothing changed."""

    reason: str
    message: str
    transient: bool


@dataclass(frozen=True, slots=True)
class Attempts:
    """The failed attempts at a revision since it was last ready.

    Attributes:
        last: the newest error.
        count: how many there were.
        retry_at: no attempt before this time, on the monotonic clock, seconds.
        workers: the incarnations that failed.
    """

    last: LoadError
    count: int
    retry_at: float
    workers: frozenset[str] = frozenset()

    @property
    def hopeless(self) -> bool:
        """Whether a user should hear of it as a failure."""
        return not self.last.transient or self.count >= PATIENCE

    @property
    def final(self) -> bool:
        """Whether trying again makes no sense: it cannot succeed, or it takes its worker down time and again."""
        return not self.last.transient or (self.last.reason == WORKER_LOST and self.count >= PATIENCE)


class LoadFailures:
    """Failed attempts by revision id."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempts] = {}

    def snapshot(self) -> Mapping[str, Attempts]:
        """What is known now."""
        return dict(self._attempts)

    def get(self, revision: str) -> Attempts | None:
        """The failed attempts at one revision."""
        return self._attempts.get(revision)

    def record(self, revision: str, worker: str, error: LoadError, now: float) -> None:
        """An attempt on a worker failed at `now` (monotonic seconds)."""
        before = self._attempts.get(revision)
        count = before.count + 1 if before else 1
        workers = before.workers | {worker} if before else frozenset({worker})
        wait = min(FIRST_WAIT * 2 ** min(count - 1, 16), LONGEST_WAIT)
        self._attempts[revision] = Attempts(error, count, now + wait, workers)

    def forget(self, revision: str) -> None:
        """The revision is ready, gone, or a user wants it tried anew."""
        self._attempts.pop(revision, None)
