"""Whether the service can do its work now: its store and its database answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from nnpm.errors import NnpmError
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.threads import Threads

_INTERVAL_S = 1.0
_PATIENCE_S = 5.0


class Readiness:
    """Asks store and database every second; `threads` are for this alone, so that a busy service is not a dead one."""

    def __init__(self, store: PackStore, database: Database, threads: Threads) -> None:
        self._store = store
        self._database = database
        self._threads = threads
        self._asking: asyncio.Future[None] | None = None
        self._log = get_logger("readiness")

    async def wait(self, stop: asyncio.Event) -> None:
        """Return when both answer, or `stop` is set."""
        while not stop.is_set() and not await self._answer():
            await pause(stop, _INTERVAL_S)

    async def watch(self, stop: asyncio.Event, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Tell at first, and whenever it changes, whether both answer; until `stop` is set."""
        told: bool | None = None
        while not stop.is_set():
            ready = await self._answer()
            if ready != told:
                await tell(ready)
                self._log.info("ready" if ready else "not ready")
            told = ready
            await pause(stop, _INTERVAL_S)

    async def _answer(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if self._asking is None:  # else the last question still hangs: no second one beside it
                    self._asking = self._threads.start(self._store.check)
                await asyncio.wait([self._asking])
                asked, self._asking = self._asking, None
                asked.result()
                await self._database.check()
        except TimeoutError:
            self._log.warning("store or database give no answer", patience_s=_PATIENCE_S)
            return False
        except NnpmError as error:
            self._log.warning(error.message, reason=error.reason)
            return False
        return True


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
