"""Packs on their way go on without the call that brought them."""

import asyncio

import pytest

from nnpm_artifact.flushes import Flushes


async def test_a_cancelled_call_does_not_stop_a_flush_and_the_next_waits_for_it() -> None:
    flushes, gate, done = Flushes(), asyncio.Event(), []

    async def flush() -> None:
        await gate.wait()
        done.append(True)

    async def call() -> None:
        await asyncio.shield(flushes.start("upload", flush()))

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    settled = asyncio.create_task(flushes.settled("upload"))
    await asyncio.sleep(0)
    await flushes.settled("another upload")
    assert not settled.done()
    gate.set()
    await settled
    assert done == [True]


async def test_close_waits_for_all_and_an_error_is_the_callers() -> None:
    flushes = Flushes()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    task = flushes.start("upload", fails())
    await flushes.close()
    with pytest.raises(ValueError):
        await task
