"""Gathers calls that come one by one into turns.

grpc.aio accepts a call in several event-loop turns, each of them one coroutine's step, and so hands over about one call
a turn, however many wait in its queues. A block of one costs as much as a block of sixty-four. So a call waits for the
next ones while others are unanswered: for some turns of the loop in which none comes, which take microseconds when
there is nothing else to do. A client alone waits for nobody.
"""

import asyncio
from collections.abc import Callable

from nnpm_scheduler.dispatch.calls_aio import AioCall
from nnpm_scheduler.dispatch.window import MOST_IN_ENTRY

PATIENCE = 16
"""Turns of the loop without a further call after which those that came are handed over. Accepting one takes five."""


class Gathering:
    """Calls `take` with what has come.

    Args:
        unanswered: how many calls there are, those that wait here among them.
        take: is handed the calls, in the order in which they came.
    """

    def __init__(self, unanswered: Callable[[], int], take: Callable[[list[AioCall]], None]) -> None:
        self._unanswered = unanswered
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._came: list[AioCall] = []
        self._seen = self._quiet = 0
        self._company = 0  # calls that were unanswered when the last ones were handed over

    def add(self, call: AioCall) -> None:
        """Hands the call over soon, with others."""
        if not self._came:
            self._seen = self._quiet = 0
            self._loop.call_soon(self._look)
        self._came.append(call)

    def _look(self) -> None:
        came, unanswered = len(self._came), self._unanswered()
        alone = unanswered <= 1 and self._company <= 1
        if not alone and came < MOST_IN_ENTRY and self._quiet < PATIENCE:
            self._quiet = self._quiet + 1 if came == self._seen else 0
            self._seen = came
            self._loop.call_soon(self._look)
            return
        self._company = unanswered
        calls, self._came = self._came, []
        self._take(calls)
