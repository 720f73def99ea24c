"""What the service cannot do without: its store and its database."""

import asyncio

from nnpm.sql.database import Database
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.threads import Threads


class Dependencies:
    """Asks both; `threads` are for this alone, so that a busy service is not a dead one."""

    def __init__(self, store: PackStore, database: Database, threads: Threads) -> None:
        self._store = store
        self._database = database
        self._threads = threads
        self._asking: asyncio.Future[None] | None = None

    async def check(self) -> None:
        """Returns when both answer. Raises Unavailable STORE_UNAVAILABLE, DATABASE_UNAVAILABLE."""
        if self._asking is None:  # else the last question still hangs: no second one beside it
            self._asking = self._threads.start(self._store.check)
        await asyncio.wait([self._asking])
        asked, self._asking = self._asking, None
        asked.result()
        await self._database.check()
