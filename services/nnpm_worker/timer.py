"""A timer that is exact to some microseconds: uvloop's own are whole milliseconds, which is longer than most waits."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_SLACK_NS = 1_000
_PR_SET_TIMERSLACK = 29


class _Spec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class PreciseTimer:
    """Calls a function once, some time after it was set; setting it anew replaces what was set.

    By timerfd on Linux (os.timerfd_create is there from Python 3.13 on), by the loop's own timer elsewhere.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)  # of this thread; 50 us by default
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._expired)

    def set(self, seconds: float) -> None:
        """Ring after so long, at once for 0."""
        if self._fd < 0:
            self.cancel()
            self._handle = self._loop.call_later(max(0.0, seconds), self._ring)
            return
        whole, part = divmod(max(1, round(seconds * 1e9)), 1_000_000_000)  # 0 would switch it off
        self._libc.timerfd_settime(self._fd, 0, ctypes.byref(_Spec(0, 0, whole, part)), None)

    def cancel(self) -> None:
        """Do not ring."""
        if self._fd >= 0:
            self._libc.timerfd_settime(self._fd, 0, ctypes.byref(_Spec()), None)
        elif self._handle is not None:
            self._handle.cancel()

    def close(self) -> None:
        """Ring never again."""
        if self._fd < 0:
            self.cancel()
            return
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew since it ran out
        self._ring()
