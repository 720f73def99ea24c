"""How long to wait before a process that has died is started again."""

import time
from collections.abc import Callable

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 30.0


class Restarts:
    """Back-off between deaths: none after the first since something worked, then twice as long each time.

    Args:
        clock: monotonic, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths = 0
        self._not_before = clock()

    def died(self) -> None:
        """The process ended, or could not be started."""
        if self._deaths:
            wait = min(_FIRST_WAIT * 2 ** min(self._deaths - 1, 16), _LONGEST_WAIT)
            self._not_before = self._clock() + wait
        self._deaths += 1

    def worked(self) -> None:
        """It answered."""
        self._deaths = 0

    @property
    def wait(self) -> float:
        """Seconds until it may be started again."""
        return max(0.0, self._not_before - self._clock())
