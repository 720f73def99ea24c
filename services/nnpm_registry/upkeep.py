"""What the registry does by itself: ends abandoned commits, deletes old drafts, gives references back."""

import asyncio

from nnpm.errors import NnpmError
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_registry.artifacts import Artifacts
from nnpm_registry.commits import Commits
from nnpm_registry.store import drafts

_INTERVAL_S = 1.0
_AT_ONCE = 100


class Upkeep:
    """Looks every second. All it knows is in the database, so that several registries may do it side by side."""

    def __init__(self, database: Database, artifacts: Artifacts, commits: Commits) -> None:
        self._database = database
        self._artifacts = artifacts
        self._commits = commits
        self._log = get_logger("upkeep")

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        told = ""
        while True:
            try:
                await self.round()
                told = ""
            except NnpmError as error:
                if error.reason != told:
                    self._log.warning("upkeep waits", reason=error.reason, error=error.message)
                told = error.reason
            await asyncio.sleep(_INTERVAL_S)

    async def round(self) -> None:
        """Once through everything."""
        while await self._commits.resume():
            pass
        while await self._database.write(drafts.expire, _AT_ONCE) == _AT_ONCE:
            pass
        for namespace, referrer in await self._database.read(drafts.to_release, _AT_ONCE):
            await self._artifacts.release(namespace, referrer)
            await self._database.write(drafts.released, referrer)
