"""Batches that wait for company: what a deployment says of it holds."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from nnpm.api.worker.v1 import worker_pb2 as wire
from support import models
from support.processes import Process
from support.scheduler_double import SchedulerDouble

ONE = [("x", "FP32", (-1, 1)), ("y", "FP32", (-1, 1))]
FILES = {"model.onnx": models.identity(shape=("n", 1)).SerializeToString()}


@pytest.fixture
def load(scheduler: SchedulerDouble, start_worker: Callable[..., Process]) -> Callable[..., object]:
    """`await load(max_queue_delay_us=...)` serves the revision `a` with that batching."""
    start_worker()

    async def load(**batching: object) -> None:
        worker = await scheduler.worker()
        message = scheduler.load_message(scheduler.publish(FILES, batch_axis=0), ONE, "a")
        message.load.batching.CopyFrom(wire.Batching(**batching))
        worker.down.put_nowait(message)
        await scheduler.state(worker, "a", "READY")

    return load


async def send(scheduler: SchedulerDouble, count: int) -> list[float]:
    """So many entries of one request, one after the other; returns when all are answered."""
    requests = [scheduler.request({"x": np.array([[number]], np.float32)}) for number in range(count)]
    for request in requests:
        await scheduler.send("a", request)
    return [float((await scheduler.answer(request))["y"][0, 0]) for request in requests]


async def test_what_comes_within_the_delay_runs_together(
    scheduler: SchedulerDouble, load: Callable[..., object]
) -> None:
    await load(max_queue_delay_us=1_000_000)
    start = time.monotonic()
    assert await send(scheduler, 5) == [0, 1, 2, 3, 4]
    assert time.monotonic() - start >= 1.0
    assert [deliver.figures.requests for deliver in scheduler.delivered] == [5]


async def test_a_preferred_size_does_not_wait(scheduler: SchedulerDouble, load: Callable[..., object]) -> None:
    await load(max_queue_delay_us=60_000_000, preferred_batch_sizes=[4])
    assert await send(scheduler, 8) == list(range(8))
    assert [deliver.figures.requests for deliver in scheduler.delivered] == [4, 4]


async def test_a_full_batch_does_not_wait(scheduler: SchedulerDouble, load: Callable[..., object]) -> None:
    await load(max_batch_size=3, max_queue_delay_us=60_000_000)
    assert await send(scheduler, 3) == [0, 1, 2]
    assert [deliver.figures.requests for deliver in scheduler.delivered] == [3]


async def test_a_request_that_is_alone_does_not_wait(scheduler: SchedulerDouble, load: Callable[..., object]) -> None:
    await load()
    for _ in range(5):
        assert await send(scheduler, 1) == [0]
    assert [deliver.figures.requests for deliver in scheduler.delivered] == [1] * 5
