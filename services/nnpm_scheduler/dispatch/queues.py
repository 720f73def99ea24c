"""The queues of all revisions, and what is written to Redis of them at the end of a turn."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from nnpm_scheduler.dispatch.inflight import Flight, InFlight, Posted
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.sharing import Sharing
from nnpm_scheduler.dispatch.window import Window

_SOON = 0.001
"""Seconds; below a millisecond uvloop makes no timer, but calls soon."""


class Written(Protocol):
    """Where entries go."""

    @property
    def open(self) -> bool:
        """Whether entries are taken."""

    def append(self, entries: Sequence[Posted]) -> None:
        """Writes them."""


class Queues:
    """A window for each revision that has calls. Those that a turn touches are pumped at its end.

    Args:
        routes: the table.
        inflight: learns what is in which entry.
        sharing: among tenants and classes.
    """

    def __init__(self, routes: Routes, inflight: InFlight, sharing: Sharing) -> None:
        self._routes = routes
        self._inflight = inflight
        self._sharing = sharing
        self._windows: dict[str, Window] = {}
        self._touched: dict[str, Window] = {}
        self.schedulers = 1
        """How many there are, this one included."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def touch(self, revision: str) -> Window:
        """A revision's window, which the next `pump` looks at."""
        window = self._touched.get(revision)
        if window is None:
            window = self._windows.get(revision)
            if window is None:
                window = self._windows[revision] = Window(revision, self._sharing)
            self._touched[revision] = window
        return window

    def give_back(self, entry: Posted, flights: Sequence[Flight]) -> None:
        """Blocks that are in no entry any more wait in memory again, at the head."""
        window = self.touch(entry.revision)
        window.returned(entry, sum([flight.live for flight in flights]))
        window.put_back(flights)

    def touch_all(self) -> None:
        """Every window may have room; those that are empty are dropped."""
        self._windows = {revision: window for revision, window in self._windows.items() if window}
        self._touched = dict(self._windows)

    def pump(self, stream: Written) -> None:
        """Writes what the windows that were touched have room for."""
        touched, self._touched = self._touched, {}
        if not stream.open:
            return
        entries: list[Posted] = []
        now = time.monotonic()
        for window in touched.values():
            window.turn.schedulers = self.schedulers
            route = self._routes.revision(window.revision)
            ready, batch = (route.ready, route.batch) if route is not None else (0, 1)
            entries += window.take(ready=ready, batch=batch, now=now)
            if window.waiting and (due := window.due(now)) is not None:
                self._look_again(window, max(_SOON, due - now), stream)
        if entries:
            for entry in entries:
                self._inflight.post(entry)
            stream.append(entries)

    def _look_again(self, window: Window, seconds: float, stream: Written) -> None:
        """A run is about to end, and its successor waits."""
        timer = self._timers.pop(window.revision, None)
        if timer is not None:
            timer.cancel()

        def look() -> None:
            del self._timers[window.revision]
            self.touch(window.revision)
            self.pump(stream)

        self._timers[window.revision] = asyncio.get_running_loop().call_later(seconds, look)
