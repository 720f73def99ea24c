"""The worker as a process: how it starts, what it waits for, what it tells an operator."""

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from support import models
from support.ports import free_port
from support.processes import Process
from support.redis_server import RedisServer
from support.scheduler_double import SchedulerDouble
from support.waiting import eventually, wait_until

LINEAR = [("x", "FP32", (-1, 4)), ("y", "FP32", (-1, 3))]
FILES = {"model.onnx": models.linear().SerializeToString()}


def process_on(redis_url: str, tmp_path: Path) -> Process:
    environment = {"NNPM_REDIS_URL": redis_url, "NNPM_WORKER_CACHE_DIR": str(tmp_path / "cache")}
    return Process.service("nnpm_worker", tmp_path / "worker.log", environment)


def test_a_redis_that_evicts_is_refused_in_one_line(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path, options=("--maxmemory-policy", "allkeys-lru"))
    try:
        redis.start()
        with process_on(redis.url, tmp_path) as process:
            assert process.wait(20) == 1
            (line,) = [line for line in process.output.splitlines() if line.startswith("nnpm-worker:")]
            assert "REDIS_EVICTS" in line
            assert "Traceback" not in process.output
    finally:
        redis.stop()


def test_a_redis_that_is_not_there_yet_is_waited_for_and_a_stop_meanwhile_is_heard(tmp_path: Path) -> None:
    with process_on(f"unix://{tmp_path}/nobody.sock", tmp_path) as process:
        wait_until(lambda: "waiting for Redis" in process.output, 20)
        assert process.stop() == 0


async def test_redis_may_come_after_the_worker(
    own_redis: RedisServer,
    scheduler_on: Callable[[str], Awaitable[SchedulerDouble]],
    start_worker_on: Callable[..., Process],
) -> None:
    scheduler = await scheduler_on(own_redis.url)
    own_redis.kill()
    process = start_worker_on(own_redis.url, scheduler)
    await eventually(lambda: "waiting for Redis" in process.output, 20)
    await asyncio.to_thread(own_redis.start)
    await scheduler.worker()


async def test_an_operator_finds_the_series_of_a_worker(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    port = free_port()
    start_worker(NNPM_METRICS_LISTEN=f"127.0.0.1:{port}")
    worker = await scheduler.worker()
    await scheduler.serve(worker, FILES, LINEAR, "a", batch_axis=0)
    good = [scheduler.request({"x": np.ones((1, 4), np.float32)}) for _ in range(3)]
    bad = scheduler.request({"x": np.ones((1, 5), np.float32)})
    await scheduler.send("a", *good, bad)
    for request in good:
        await scheduler.answer(request)
    await scheduler.error(bad)
    page = await asyncio.to_thread(_page, f"http://127.0.0.1:{port}/metrics")
    for line in (
        'nnpm_requests_total{code="OK",method="run"} 3.0',
        'nnpm_requests_total{code="INVALID_ARGUMENT",method="run"} 1.0',
        'nnpm_errors_total{reason="RUNTIME_REFUSED"} 1.0',
        'nnpm_request_seconds_count{method="run"} 4.0',
        'nnpm_queue_seconds_count{revision="a"} 4.0',
        'nnpm_batch_rows_sum{revision="a"} 3.0',
        "nnpm_loaded_models 1.0",
        'nnpm_cache_lookups_total{outcome="miss"} 1.0',
        f'nnpm_bytes_total{{direction="fetched"}} {float(len(FILES["model.onnx"]))}',
    ):
        assert line in page, page
    assert "nnpm_in_flight_calls " in page
    assert "process_resident_memory_bytes" in page


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())
