"""The wall clock of leases and grace periods."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Unix time in milliseconds."""


def wall_clock() -> int:
    return time.time_ns() // 1_000_000
