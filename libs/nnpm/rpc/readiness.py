"""Whether a service can do its work now: what it depends on answers."""

import asyncio
from collections.abc import Awaitable, Callable

from nnpm.errors import NnpmError
from nnpm.rpc.pause import pause
from nnpm.telemetry.logs import get_logger

_INTERVAL_S = 1.0
_PATIENCE_S = 5.0


class Readiness:
    """Asks every second.

    Args:
        check: returns when everything answers, and raises NnpmError when something does not; no answer is a no, too.
    """

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._log = get_logger("readiness")
        self._missing = ""

    async def wait(self, stop: asyncio.Event) -> None:
        """Return when everything answers, or `stop` is set."""
        while not stop.is_set() and not await self._answers():
            await pause(stop, _INTERVAL_S)

    async def watch(self, stop: asyncio.Event, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Tell at first, and whenever it changes, whether everything answers; until `stop` is set."""
        told: bool | None = None
        while not stop.is_set():
            ready = await self._answers()
            if ready != told:
                await tell(ready)
                self._log.info("ready" if ready else "not ready")
            told = ready
            await pause(stop, _INTERVAL_S)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._check()
        except TimeoutError:
            self._say("NO_ANSWER", f"what the service depends on gives no answer in {_PATIENCE_S:g} s")
            return False
        except NnpmError as error:
            self._say(error.reason, error.message)
            return False
        self._missing = ""
        return True

    def _say(self, reason: str, why: str) -> None:
        """One line for each new trouble, not one for each look at it."""
        if reason != self._missing:
            self._log.warning("waiting for what the service depends on", reason=reason, why=why)
        self._missing = reason
