"""Blocking work off the event loop: disk, object store and SHA-256, all of which let other threads run."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8


class Threads:
    """A bounded executor; what does not fit waits its turn."""

    def __init__(self, count: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="io")

    async def run(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`act(...)` in a thread. A cancelled caller stops waiting; what has begun in the thread ends there."""
        return await self.start(act, *args, **kwargs)

    def start(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """As `run`, without waiting: the caller awaits or cancels the future."""
        return asyncio.get_running_loop().run_in_executor(self._executor, lambda: act(*args, **kwargs))

    def close(self) -> None:
        """Wait for what runs."""
        self._executor.shutdown()
