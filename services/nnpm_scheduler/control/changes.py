"""One counter that grows with every change of desired or observed state; whoever waits for it misses none."""

import asyncio


class Changes:
    """Level triggered: a waiter names the count that it has seen, so a change between two waits wakes it at once."""

    def __init__(self) -> None:
        self._count = 0
        self._event = asyncio.Event()

    @property
    def count(self) -> int:
        """How many changes there were."""
        return self._count

    def bump(self) -> None:
        """Something changed. Called on the event loop."""
        self._count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, timeout: float) -> int:
        """Waits until there is a change after `seen`, at most `timeout` seconds. Returns the count."""
        if self._count == seen:
            try:
                async with asyncio.timeout(timeout):
                    await self._event.wait()
            except TimeoutError:
                pass
        return self._count
