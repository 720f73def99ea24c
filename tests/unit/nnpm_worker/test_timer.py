import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from nnpm_worker.timer import PreciseTimer


class Bell:
    def __init__(self) -> None:
        self.rung: list[float] = []
        self.event = asyncio.Event()
        self.timer = PreciseTimer(self.ring)

    def ring(self) -> None:
        self.rung.append(time.monotonic())
        self.event.set()

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            await self.event.wait()


@pytest.fixture
async def bell() -> AsyncIterator[Bell]:
    bell = Bell()
    yield bell
    bell.timer.close()


@pytest.mark.parametrize("seconds", [0.0, 0.0003, 0.02])
async def test_it_rings_once_and_not_too_early(bell: Bell, seconds: float) -> None:
    start = time.monotonic()
    bell.timer.set(seconds)
    await bell.wait()
    assert bell.rung[0] - start >= seconds
    assert len(bell.rung) == 1


async def test_setting_it_anew_replaces_what_was_set(bell: Bell) -> None:
    start = time.monotonic()
    bell.timer.set(0.0001)
    bell.timer.set(0.03)
    await bell.wait()
    assert len(bell.rung) == 1
    assert bell.rung[0] - start >= 0.03


async def test_what_is_cancelled_does_not_ring(bell: Bell) -> None:
    other = Bell()
    bell.timer.set(0.001)
    bell.timer.cancel()
    other.timer.set(0.02)
    await other.wait()
    assert not bell.rung
    other.timer.close()
