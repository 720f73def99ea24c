"""Packs on their way into the store, which go on when the call that brought them is gone."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLE_S = 20.0


class Flushes:
    """Owns the tasks that store packs: a broken call does not cut them off, `close` waits for them."""

    def __init__(self) -> None:
        self._running: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)

    def start(self, key: str, flush: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `flush` as a task, under `key` (an upload's id). Whoever awaits it does so through `asyncio.shield`."""
        task = asyncio.get_running_loop().create_task(flush)
        self._running[key].add(task)
        task.add_done_callback(lambda done: self._forget(key, done))
        return task

    async def settled(self, key: str) -> None:
        """Wait until nothing under this key is on its way, 20 s at most: later it counts as not stored."""
        if running := self._running.get(key):
            await asyncio.wait(running, timeout=_SETTLE_S)

    async def close(self) -> None:
        """Wait for all of them, however they end."""
        while running := [task for tasks in self._running.values() for task in tasks]:
            await asyncio.wait(running)

    def _forget(self, key: str, task: asyncio.Task[Any]) -> None:
        tasks = self._running[key]
        tasks.discard(task)
        if not tasks:
            self._running.pop(key)
        if not task.cancelled():
            task.exception()  # seen here as well: the call that would have told of it may be gone
