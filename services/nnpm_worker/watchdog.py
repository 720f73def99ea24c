"""Ends the process when a run hangs: its heartbeats would keep its requests in its hands for ever.

`faulthandler` holds the timer, in a thread that needs no interpreter lock, so that a run that hangs while it holds the
lock is caught as well. The timer is set anew while no run is older than allowed.
"""

import faulthandler
import os
import sys
import time

from nnpm.telemetry.logs import get_logger

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""

_log = get_logger("watchdog")


class Watchdog:
    """Call `begin` and `end` around each run, and `check` about once a second, from the loop that reads requests.

    Args:
        seconds: that a run may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[object, float] = {}

    def begin(self, run: object) -> None:
        """A run starts; `run` is any key."""
        self._begun[run] = time.monotonic()

    def end(self, run: object) -> None:
        """A run came back."""
        self._begun.pop(run, None)

    def check(self) -> None:
        """End the process if a run is too old; else put off the timer that would."""
        now = time.monotonic()
        oldest = min(self._begun.values(), default=now)
        if now - oldest > self._seconds:
            _log.critical("a run hangs, ending the process", seconds=round(now - oldest, 1))
            faulthandler.dump_traceback(sys.stderr)
            os._exit(EXIT_CODE)
        faulthandler.dump_traceback_later(self._seconds - (now - oldest) + 5, exit=True)

    def close(self) -> None:
        """Watch no more."""
        faulthandler.cancel_dump_traceback_later()
