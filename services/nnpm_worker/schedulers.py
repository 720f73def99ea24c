"""Which schedulers live, which are gone, and whether this worker may read: rule 6 of the dispatch protocol."""

import time
from collections.abc import Callable, Iterable, Mapping

from nnpm.queue.schedulers import LiveScheduler


class Schedulers:
    """What is known of each scheduler, from the list in Redis and from who answers at which address.

    Args:
        lease: seconds.
        clock: monotonic, seconds.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._listed: dict[str, str] = {}
        self._answering: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        # When a scheduler's absence from the list, or the lack of a Session with it, began.
        self._absent_since: dict[str, float] = {}
        self._cut_off_since: dict[str, float] = {}

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where each listed scheduler is reached, by incarnation."""
        return self._listed

    def list_read(self, live: Iterable[LiveScheduler]) -> None:
        """Redis told who is listed."""
        now = self._clock()
        self._listed = {scheduler.incarnation: scheduler.address for scheduler in live}
        self._addresses |= self._listed
        for incarnation in self._listed:
            self._absent_since.pop(incarnation, None)
            if not self.has_session(incarnation):
                self._cut_off_since.setdefault(incarnation, now)
        for incarnation in self._addresses.keys() - self._listed.keys():
            self._absent_since.setdefault(incarnation, now)

    def list_unreadable(self) -> None:
        """Redis did not answer: who was absent until now may have been listed meanwhile."""
        self._absent_since.clear()

    def session_opened(self, address: str, incarnation: str) -> None:
        """A scheduler answered at an address."""
        self._answering[address] = incarnation
        self._addresses[incarnation] = address
        self._cut_off_since.pop(incarnation, None)

    def session_closed(self, address: str) -> None:
        """The Session at an address broke, which by itself proves nothing."""
        incarnation = self._answering.get(address)
        if incarnation is not None:
            self._cut_off_since[incarnation] = self._clock()

    def has_session(self, incarnation: str) -> bool:
        """Whether there is a Session with that very scheduler."""
        return incarnation in self._answering.values() and incarnation not in self._cut_off_since

    def is_gone(self, incarnation: str, address: str = "") -> bool:
        """Whether it will never take an answer again.

        It was off the list for a full lease with Redis reachable throughout, or another answers at its address.

        Args:
            incarnation: of the scheduler.
            address: where it took replies, for one that this worker never saw on the list.
        """
        if self.has_session(incarnation):
            return False
        place = self._addresses.setdefault(incarnation, address)
        if self._answering.get(place, incarnation) != incarnation:
            return True
        since = self._absent_since.get(incarnation)
        return since is not None and self._clock() - since >= self._lease

    def may_read(self) -> bool:
        """Whether requests may be taken: there is a Session, or was within a lease, with every listed scheduler.

        And with one at all. A worker that cannot deliver would fail fast, read most, and swallow requests.
        """
        now = self._clock()
        if not any(self.has_session(incarnation) for incarnation in self._answering.values()):
            return False
        return all(
            self.has_session(incarnation)
            or self.is_gone(incarnation)
            or now - self._cut_off_since.get(incarnation, now) < self._lease
            for incarnation in self._listed
        )
