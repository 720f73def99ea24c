"""Whether the registry can do its work now: its database answers."""

import asyncio
from collections.abc import Awaitable, Callable

from nnpm.errors import NnpmError
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_registry.pause import pause

_INTERVAL_S = 1.0
_PATIENCE_S = 5.0


class Readiness:
    """Asks the database every second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = get_logger("readiness")

    async def watch(self, stop: asyncio.Event, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Tell at first, and whenever it changes, whether the database answers; until `stop` is set."""
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
                await self._database.check()
        except TimeoutError:
            self._log.warning("the database gives no answer", patience_s=_PATIENCE_S)
            return False
        except NnpmError as error:
            self._log.warning(error.message, reason=error.reason)
            return False
        return True
