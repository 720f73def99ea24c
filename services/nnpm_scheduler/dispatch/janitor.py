"""Clears away what the dead leave in Redis: entries that nobody waits for, the consumers that had them in hand, and
schedulers on the list.

An audit looks after entries whose calls are unanswered. What is left over is an entry whose reader died between its
Deliver and its XACK, or whose scheduler is gone: no living party would ever touch it again.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.errors import NnpmError
from nnpm.queue.entry import Decoder
from nnpm.queue.groups import group_is_missing, leave_group
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm.queue.schedulers import forget_gone, live_schedulers
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.audit import Workers
from nnpm_scheduler.dispatch.inflight import InFlight
from nnpm_scheduler.dispatch.routes import Routes

EVERY = 10.0
"""Seconds between two rounds."""

AT_ONCE = 1_000
"""Pending entries looked at in one round of one revision."""


class Janitor:
    """Goes through the streams of every revision in the table.

    Args:
        scheduler: this process's incarnation: its entries are known by its in-flight table.
        every: seconds between two rounds.
    """

    def __init__(
        self,
        redis: Redis,
        scheduler: str,
        routes: Routes,
        inflight: InFlight,
        workers: Workers,
        *,
        every: float = EVERY,
    ) -> None:
        self._redis = redis
        self._scheduler = scheduler
        self._routes = routes
        self._inflight = inflight
        self._workers = workers
        self._every = every
        self._log = get_logger("janitor")

    async def run(self) -> None:
        """Makes its rounds until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.round()
            except (RedisError, OSError) as error:
                self._log.info("a round is left out: redis does not answer", error=str(error))

    async def round(self) -> None:
        """Looks at every revision once, and at the list of schedulers."""
        await forget_gone(self._redis)
        others = {scheduler.incarnation for scheduler in await live_schedulers(self._redis)} - {self._scheduler}
        for deployment in self._routes.table.deployments:
            for revision in deployment.revisions:
                try:
                    await self._clear_entries(revision.id, others)
                    await self._clear_consumers(revision.id)
                except ResponseError as error:
                    if not group_is_missing(error):
                        raise

    async def _clear_entries(self, revision: str, others: Collection[str]) -> None:
        """Pending with a dead worker, and waited for by no living scheduler."""
        key = requests_key(revision)
        pending: Any = await self._redis.xpending_range(key, GROUP, "-", "+", AT_ONCE)
        live = {incarnation.encode() for incarnation in self._workers.live()}
        known = {entry.id for entry in self._inflight.entries()}
        left = [p["message_id"] for p in pending if p["consumer"] not in live and p["message_id"] not in known]
        orphans = [entry_id for entry_id in left if await self._owner(key, entry_id) not in others]
        if orphans:
            pipe = self._redis.pipeline(transaction=False)
            pipe.xdel(key, *orphans)
            pipe.xack(key, GROUP, *orphans)
            await pipe.execute()
            self._log.info("cleared entries that nobody waits for", revision=revision, entries=len(orphans))

    async def _owner(self, key: str, entry_id: bytes) -> str:
        """The scheduler that wrote an entry; empty when its body is gone, or is none."""
        found: Any = await self._redis.xrange(key, entry_id, entry_id)
        if not found:
            return ""
        try:
            return Decoder().decode(found[0][1].get(FIELD.encode(), b"")).scheduler
        except NnpmError:
            return ""

    async def _clear_consumers(self, revision: str) -> None:
        key = requests_key(revision)
        live = {incarnation.encode() for incarnation in self._workers.live()}
        for consumer in await self._redis.xinfo_consumers(key, GROUP):
            if consumer["name"] not in live and not consumer["pending"]:
                await leave_group(self._redis, revision, consumer["name"])
