"""Collects garbage from time to time."""

import asyncio

from nnpm.errors import NnpmError
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.collection import Collection


class Upkeep:
    """Runs a collection every `interval_s` seconds; never, when it is 0."""

    def __init__(self, collection: Collection, interval_s: float) -> None:
        self._collection = collection
        self._interval_s = interval_s
        self._log = get_logger("garbage")

    async def run(self) -> None:
        """Until cancelled, at any point. A collection that fails is tried again at the next time."""
        while self._interval_s:
            await asyncio.sleep(self._interval_s)
            try:
                await self._collection.collect()
            except NnpmError as error:
                self._log.warning("garbage was not collected", reason=error.reason, error=error.message)
