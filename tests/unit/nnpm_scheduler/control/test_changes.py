"""The counter of changes: nobody misses one."""

import asyncio

from nnpm_scheduler.control.changes import Changes


async def test_a_change_between_two_waits_is_not_missed() -> None:
    changes = Changes()
    seen = changes.count
    changes.bump()
    assert await changes.wait(seen, 10.0) == seen + 1


async def test_every_waiter_is_woken() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.wait(changes.count, 10.0)) for _ in range(3)]
    await asyncio.sleep(0)
    changes.bump()
    assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_a_wait_ends_without_a_change() -> None:
    changes = Changes()
    assert await changes.wait(changes.count, 0.01) == 0
