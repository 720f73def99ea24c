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
            self._log.warning("what the service depends on gives no answer", patience_s=_PATIENCE_S)
            return False
        except NnpmError as error:
            self._log.warning(error.message, reason=error.reason)
            return False
        return True
