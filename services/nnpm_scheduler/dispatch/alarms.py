"""One event-loop timer for all deadlines."""

import asyncio
import time
from collections.abc import Callable

from nnpm_scheduler.dispatch.inflight import Flight, InFlight

EARLY = 0.1
"""Seconds before its deadline at which a call that could not be queued is given up."""


class Alarms:
    """Rings for blocks whose time is up.

    A block is first looked at a little before its deadline: a client whose own deadline passes first would never see
    why nothing came.

    Args:
        inflight: keeps who is to be woken when.
        early: called with blocks that are near their deadline; returns those that shall wait for it.
        late: called with blocks whose deadline has passed.
    """

    def __init__(
        self,
        inflight: InFlight,
        early: Callable[[list[Flight]], list[Flight]],
        late: Callable[[list[Flight]], None],
    ) -> None:
        self._inflight = inflight
        self._early = early
        self._late = late
        self._timer: asyncio.TimerHandle | None = None

    def set(self, flight: Flight) -> None:
        """Ring for this block too; `arm` afterwards."""
        ahead = min(EARLY, 0.1 * (flight.deadline - flight.admitted_ns / 1e9))
        self._inflight.set_alarm(flight, flight.deadline - ahead)

    def arm(self) -> None:
        """Sets the timer to the next alarm."""
        at = self._inflight.next_alarm()
        if at is None:
            return
        delay = max(0.001, at - time.monotonic())  # below a millisecond uvloop makes no timer, but calls soon
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = time.monotonic()
        rung = self._inflight.alarmed(now)
        late = [flight for flight in rung if flight.deadline <= now]
        for flight in self._early([flight for flight in rung if flight.deadline > now]):
            self._inflight.set_alarm(flight, flight.deadline)
        self._late(late)
        self.arm()
