import asyncio
import threading

import pytest

from nnpm_worker.model_thread import ModelThread


async def test_functions_run_in_order_on_one_thread_off_the_loop() -> None:
    thread = ModelThread("m")
    names = await asyncio.gather(*(thread.call(lambda: threading.current_thread().name) for _ in range(5)))
    assert set(names) == {"m"}
    order: list[int] = []
    await asyncio.gather(*(thread.call(lambda number=number: order.append(number)) for number in range(10)))
    assert order == list(range(10))
    thread.close()


async def test_what_a_function_raises_is_raised_to_its_caller() -> None:
    thread = ModelThread("m")
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 / 0)
    assert await thread.call(lambda: 7) == 7
    thread.close()


async def test_a_caller_that_gives_up_does_not_stop_the_thread() -> None:
    thread = ModelThread("m")
    go = threading.Event()
    call = asyncio.create_task(thread.call(lambda: go.wait(5)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    assert await thread.call(lambda: 7) == 7
    thread.close()


async def test_a_run_that_hangs_does_not_keep_the_process() -> None:
    thread = ModelThread("m")
    started, go = threading.Event(), threading.Event()
    call = asyncio.create_task(thread.call(lambda: (started.set(), go.wait(5))))
    await asyncio.to_thread(started.wait, 5)
    (running,) = [each for each in threading.enumerate() if each.name == "m"]
    assert running.daemon
    go.set()
    await call
    thread.close()
