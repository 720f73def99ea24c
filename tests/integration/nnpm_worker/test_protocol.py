"""The dispatch protocol as a worker keeps it: what it reads, when it acknowledges, whom it waits for."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.queue.entry import Block
from nnpm.queue.keys import FIELD, GROUP, requests_key
from support import models
from support.processes import Process
from support.redis_server import RedisServer
from support.scheduler_double import Connected, SchedulerDouble, singles
from support.waiting import eventually

ONE = [("x", "FP32", (-1, 1)), ("y", "FP32", (-1, 1))]
SLEEP = {"runtime": "sleep", "batch_axis": "none"}
REVISION = "served-1"


def value(number: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[number]], np.float32)}


async def serve(scheduler: SchedulerDouble, worker: Connected, revision: str = REVISION, **manifest: object) -> None:
    files = {"model.onnx": models.identity(shape=("n", 1)).SerializeToString()}
    await scheduler.serve(worker, files, ONE, revision, **manifest)


async def answered(scheduler: SchedulerDouble, request: Block) -> float:
    return float((await scheduler.answer(request))["y"][0, 0])


@pytest.fixture
async def worker(scheduler: SchedulerDouble, start_worker: Callable[..., Process]) -> Connected:
    start_worker()
    return await scheduler.worker()


async def test_it_says_what_it_has_and_beats_twice_a_lease(scheduler: SchedulerDouble, worker: Connected) -> None:
    hello = worker.hello
    assert hello.cores >= 1
    assert hello.memory_bytes > 0
    assert "CPUExecutionProvider" in hello.providers
    assert {"onnx", "sleep", "kill"} <= set(hello.runtimes)
    await eventually(lambda: len(worker.beats) >= 4, 10)
    gaps = [later - earlier for earlier, later in zip(worker.beats, worker.beats[1:], strict=False)]
    assert max(gaps) < 2.0


async def test_a_long_run_does_not_stop_the_heartbeat(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    request = scheduler.request(value(4.0))
    await scheduler.send(REVISION, request)
    before = len(worker.beats)
    await answered(scheduler, request)
    assert len(worker.beats) - before >= 3


async def test_an_entry_is_acknowledged_only_after_its_deliver_was_answered(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker)
    scheduler.refuse_delivers = 1_000_000
    request = scheduler.request(value(3))
    await scheduler.send(REVISION, request)
    tried = scheduler.refuse_delivers
    await eventually(lambda: scheduler.refuse_delivers < tried - 3, 10, what="Deliver is tried again and again")
    assert await scheduler.redis.xlen(requests_key(REVISION)) == 1
    assert (await scheduler.redis.xpending(requests_key(REVISION), GROUP))["pending"] == 1
    scheduler.refuse_delivers = 0
    assert await answered(scheduler, request) == 3
    await eventually(lambda: scheduler.at_rest(REVISION), 5)


async def test_requests_go_on_while_a_deliver_is_not_answered(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker)
    scheduler.refuse_delivers = 3
    requests = [scheduler.request(value(number)) for number in range(5)]
    for request in requests:
        await scheduler.send(REVISION, request)
    assert [await answered(scheduler, request) for request in requests] == [0, 1, 2, 3, 4]


async def test_one_deliver_carries_a_batch_with_its_figures(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, batch_axis=0)
    requests = [scheduler.request(value(number)) for number in range(16)]
    await scheduler.send(REVISION, *requests)
    assert [await answered(scheduler, request) for request in requests] == list(range(16))
    (deliver,) = scheduler.delivered
    assert (deliver.figures.requests, deliver.figures.rows) == (16, 16)
    assert deliver.worker == worker.hello.incarnation
    assert deliver.scheduler == scheduler.incarnation
    assert all(reply.final for reply in deliver.replies)


async def test_a_block_is_answered_as_a_block_and_each_request_is_its_own(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker, batch_axis=0)
    block = scheduler.block([value(number) for number in range(16)])
    other = scheduler.block([value(number) for number in range(16, 20)])
    await scheduler.send(REVISION, block, other)
    requests = [*singles(block), *singles(other)]
    assert [await answered(scheduler, request) for request in requests] == list(range(20))
    (deliver,) = scheduler.delivered
    replies = sorted((reply.number, reply.offset, reply.count) for reply in deliver.replies)
    assert replies == [(block.number, 0, 16), (other.number, 0, 4)]
    assert (deliver.figures.requests, deliver.figures.rows) == (20, 20)
    await eventually(lambda: scheduler.at_rest(REVISION), 5)


async def test_a_block_is_run_one_by_one_where_joining_is_not_allowed(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker, batch_axis="none")
    block = scheduler.block([value(number) for number in range(5)])
    await scheduler.send(REVISION, block)
    assert [await answered(scheduler, request) for request in singles(block)] == list(range(5))


async def test_one_request_of_a_block_is_cancelled_and_its_neighbours_are_run(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker, batch_axis=0)
    block = scheduler.block([value(number) for number in range(4)])
    worker.down.put_nowait(wire.SessionResponse(cancel=wire.Cancel(numbers=[block.number + 2])))
    marker = scheduler.block([value(9)])
    await scheduler.send(REVISION, marker)
    await answered(scheduler, marker)
    await _heard(scheduler, worker)
    await scheduler.send(REVISION, block)
    requests = singles(block)
    assert (await scheduler.error(requests.pop(2))).code == "CANCELLED"
    assert [await answered(scheduler, request) for request in requests] == [0, 1, 3]


async def test_a_cancelled_request_is_not_run(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    first, cancelled, early = (scheduler.request(value(number)) for number in (1.0, 30.0, 30.0))
    await scheduler.send(REVISION, first)
    await scheduler.send(REVISION, cancelled)
    cancel = wire.Cancel(numbers=[cancelled.number, early.number])
    worker.down.put_nowait(wire.SessionResponse(cancel=cancel))
    assert await answered(scheduler, first) == 1
    await scheduler.send(REVISION, early)
    for request in (cancelled, early):
        assert (await scheduler.error(request)).code == "CANCELLED"


async def test_a_suspect_runs_alone_after_asking(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    await serve(scheduler, worker, "other-1", **SLEEP)
    running, suspect = scheduler.request(value(0.5)), scheduler.request(value(0.5))
    await scheduler.send("other-1", running)
    await eventually(lambda: _pending(scheduler, "other-1"), 5)
    await scheduler.send(REVISION, suspect, suspect=True)
    behind = scheduler.request(value(0.0))
    assert await answered(scheduler, suspect) == 0.5
    await scheduler.send("other-1", behind)
    assert await answered(scheduler, behind) == 0
    assert scheduler.begun == [suspect.number]
    order = [reply.number for deliver in scheduler.delivered for reply in deliver.replies]
    assert order == [running.number, suspect.number, behind.number]


async def test_a_suspect_that_is_not_wanted_is_dropped(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    scheduler.wanted = False
    suspect = scheduler.request(value(0.1))
    await scheduler.send(REVISION, suspect, suspect=True)
    await eventually(lambda: scheduler.begun, 5)
    await eventually(lambda: scheduler.at_rest(REVISION), 5)
    assert not scheduler.replies


async def test_a_stream_that_vanishes_is_made_again_from_its_first_entry(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker)
    await scheduler.redis.delete(requests_key(REVISION))
    request = scheduler.request(value(7))
    await scheduler.send(REVISION, request)
    assert await answered(scheduler, request) == 7


async def test_what_is_no_entry_is_cleared_away(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker)
    await scheduler.redis.xadd(requests_key(REVISION), {FIELD: b"\xff\xff"})
    request = scheduler.request(value(1))
    await scheduler.send(REVISION, request)
    assert await answered(scheduler, request) == 1
    await eventually(lambda: scheduler.at_rest(REVISION), 5)


async def test_a_broken_connection_is_replaced_and_pending_entries_are_taken_first(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker)
    for number in range(5):
        await scheduler.redis.client_kill_filter(_type="normal", skipme=True)
        request = scheduler.request(value(number))
        await scheduler.send(REVISION, request)
        assert await answered(scheduler, request) == number
    await eventually(lambda: scheduler.at_rest(REVISION), 5)


async def test_two_workers_share_a_stream_and_answer_each_request_once(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    for name in ("one", "two"):
        start_worker(name)
        await serve(scheduler, await scheduler.worker(name), **SLEEP)
    requests = [scheduler.request(value(0.05 + number / 1000)) for number in range(20)]
    for request in requests:
        await scheduler.send(REVISION, request)
    for number, request in enumerate(requests):
        assert await answered(scheduler, request) == pytest.approx(0.05 + number / 1000)
    delivered = [reply.number for deliver in scheduler.delivered for reply in deliver.replies]
    assert sorted(delivered) == sorted(set(delivered))
    assert len({deliver.worker for deliver in scheduler.delivered}) == 2


async def test_a_long_run_of_one_model_does_not_hold_up_another(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    await serve(scheduler, worker, "quick-1")
    slow = scheduler.request(value(5.0))
    await scheduler.send(REVISION, slow)
    await eventually(lambda: _pending(scheduler, REVISION), 5)
    quick = [scheduler.request(value(number), deadline=4) for number in range(5)]
    for number, request in enumerate(quick):
        await scheduler.send("quick-1", request)
        assert await answered(scheduler, request) == number
    assert slow.number not in scheduler.replies


async def test_it_takes_no_more_than_it_can_start(scheduler: SchedulerDouble, worker: Connected) -> None:
    await serve(scheduler, worker, **SLEEP)
    requests = [scheduler.request(value(0.5)) for _ in range(3)]
    for request in requests:
        await scheduler.send(REVISION, request)
    await eventually(lambda: _pending(scheduler, REVISION), 5)
    assert await _pending(scheduler, REVISION) == 1
    for request in requests:
        await answered(scheduler, request)


async def test_sigterm_finishes_what_is_in_hand_acknowledges_it_and_leaves_the_group(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    process = start_worker()
    worker = await scheduler.worker()
    await serve(scheduler, worker, **SLEEP)
    running, left = scheduler.request(value(1.0)), scheduler.request(value(1.0))
    await scheduler.send(REVISION, running)
    await eventually(lambda: _pending(scheduler, REVISION), 5)
    await scheduler.send(REVISION, left)
    process.signal(signal.SIGTERM)
    assert await answered(scheduler, running) == 1
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert worker.drained
    assert await scheduler.redis.xinfo_consumers(requests_key(REVISION), GROUP) == []
    assert await scheduler.redis.xlen(requests_key(REVISION)) == 1
    assert left.number not in scheduler.replies


async def test_sigterm_with_empty_hands_says_drained_before_the_session_ends(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    process = start_worker()
    worker = await scheduler.worker()
    await serve(scheduler, worker)
    process.signal(signal.SIGTERM)
    await eventually(lambda: worker.drained, 10)
    assert await asyncio.to_thread(process.wait, 10) == 0


async def test_sigterm_does_not_wait_for_a_run_beyond_the_grace(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    process = start_worker(NNPM_SHUTDOWN_GRACE_SECONDS="0.5")
    await serve(scheduler, await scheduler.worker(), **SLEEP)
    await scheduler.send(REVISION, scheduler.request(value(60)))
    await eventually(lambda: _pending(scheduler, REVISION), 5)
    process.signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 6) == 0


async def test_a_run_that_hangs_ends_the_process(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    process = start_worker(NNPM_WORKER_RUN_SECONDS="1")
    await serve(scheduler, await scheduler.worker(), **SLEEP)
    await scheduler.send(REVISION, scheduler.request(value(60)))
    assert await asyncio.to_thread(process.wait, 10) == 70
    assert "hangs" in process.output


async def test_a_drain_stops_reading_and_is_reported_while_heartbeats_go_on(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await serve(scheduler, worker)
    worker.down.put_nowait(wire.SessionResponse(drain=wire.Drain()))
    await eventually(lambda: worker.drained, 5)
    await scheduler.send(REVISION, scheduler.request(value(1)))
    before = len(worker.beats)
    await eventually(lambda: len(worker.beats) >= before + 2, 5)
    assert await scheduler.redis.xlen(requests_key(REVISION)) == 1
    assert not scheduler.replies


async def test_it_reads_nothing_without_a_session_with_every_listed_scheduler(
    scheduler: SchedulerDouble, worker: Connected, sockets: Path
) -> None:
    await serve(scheduler, worker)
    stranger = SchedulerDouble(scheduler.redis, sockets / "nobody.sock")
    await stranger.list_only()
    await eventually(lambda: _reads_nothing(scheduler), 15, what="the worker stops reading")
    await stranger.stop()
    await eventually(lambda: scheduler.replies, 10, what="it reads on when the other is gone")


async def test_entries_of_a_scheduler_that_is_gone_are_dropped(
    scheduler: SchedulerDouble, worker: Connected, sockets: Path
) -> None:
    await serve(scheduler, worker)
    stranger = SchedulerDouble(scheduler.redis, sockets / "gone.sock")
    await stranger.send(REVISION, stranger.request(value(1)))
    request = scheduler.request(value(2))
    await scheduler.send(REVISION, request)
    assert await answered(scheduler, request) == 2
    await eventually(lambda: scheduler.at_rest(REVISION), 10)


async def test_a_new_scheduler_at_the_same_address_is_served_at_once(
    scheduler: SchedulerDouble, worker: Connected, sockets: Path
) -> None:
    await serve(scheduler, worker)
    await scheduler.stop(leave=False)  # as by kill -9: still listed
    successor = await SchedulerDouble(scheduler.redis, sockets / "mesh.sock").start()
    try:
        await successor.worker()
        request = successor.request(value(5))
        await successor.send(REVISION, request)
        assert float((await successor.answer(request, 3))["y"][0, 0]) == 5
    finally:
        await successor.stop()


async def test_redis_restarts_and_everything_goes_on(
    own_redis: RedisServer,
    scheduler_on: Callable[[str], Awaitable[SchedulerDouble]],
    start_worker_on: Callable[..., Process],
) -> None:
    scheduler = await scheduler_on(own_redis.url)
    start_worker_on(own_redis.url, scheduler)
    worker = await scheduler.worker()
    await serve(scheduler, worker, **SLEEP)
    running = scheduler.request(value(2.0))
    await scheduler.send(REVISION, running)
    await eventually(lambda: _pending(scheduler, REVISION), 5)
    own_redis.kill()
    assert await answered(scheduler, running) == 2, "Deliver needs no Redis"
    await asyncio.to_thread(own_redis.start)
    request = scheduler.request(value(0.1))
    await eventually(lambda: scheduler.send(REVISION, request), 5)
    assert await answered(scheduler, request) == pytest.approx(0.1)
    await eventually(lambda: scheduler.at_rest(REVISION), 5)


async def _heard(scheduler: SchedulerDouble, worker: Connected) -> None:
    """What was sent to the worker on its Session before has been read: Sessions keep their order."""
    suspect = scheduler.request(value(0))
    scheduler.wanted = True
    await scheduler.send(REVISION, suspect, suspect=True)
    await answered(scheduler, suspect)


async def _pending(scheduler: SchedulerDouble, revision: str) -> int:
    return int((await scheduler.redis.xpending(requests_key(revision), GROUP))["pending"])


async def _reads_nothing(scheduler: SchedulerDouble) -> bool:
    """A request that is sent now is not taken."""
    scheduler.replies.clear()
    request = scheduler.request(value(1))
    await scheduler.send(REVISION, request)
    try:
        await scheduler.answer(request, 0.7)
    except AssertionError:
        return True
    return False
