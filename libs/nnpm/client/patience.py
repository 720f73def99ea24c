"""Trying again while a service is away: for transfers, which a restart of a service must not break."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nnpm.errors import NnpmError, Unavailable

PATIENCE = 30.0
"""Seconds for which one step of a transfer is tried again without getting further."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

Answer = TypeVar("Answer")


class Patience:
    """Counts the time since something last got further."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Something got further: the count starts anew."""
        self._until = time.monotonic() + self._seconds
        self._pause = _FIRST_PAUSE

    async def wait(self, fault: NnpmError) -> None:
        """Pauses before the next try, longer each time; raises `fault` when the time is up."""
        if time.monotonic() + self._pause > self._until:
            raise fault
        # Spread, so that the clients of a restarted service do not come back in step.
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


async def patiently(call: Callable[[], Awaitable[Answer]], patience: float = PATIENCE) -> Answer:
    """Calls until it answers, for `patience` seconds of UNAVAILABLE. The call must be idempotent."""
    waiting = Patience(patience)
    while True:
        try:
            return await call()
        except Unavailable as fault:
            await waiting.wait(fault)
