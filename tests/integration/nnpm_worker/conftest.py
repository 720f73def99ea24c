"""A worker's process against a real Redis and a scheduler played by the test."""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from nnpm.queue.connection import connect
from support.processes import Process
from support.redis_server import RedisServer
from support.scheduler_double import SchedulerDouble

RUNTIMES = Path(__file__).parents[2] / "support" / "runtimes"


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="nnpm-") as folder:
        yield Path(folder)


@pytest.fixture
async def scheduler_on(sockets: Path) -> AsyncIterator[Callable[[str], Awaitable[SchedulerDouble]]]:
    """`await scheduler_on(url)` is a listed scheduler on that Redis."""
    started: list[SchedulerDouble] = []

    async def start(url: str) -> SchedulerDouble:
        double = SchedulerDouble(connect(url), sockets / "mesh.sock")
        started.append(double)
        return await double.start()

    yield start
    for double in started:
        await double.stop()
        await double.redis.aclose()


@pytest.fixture
async def scheduler(redis_url: str, scheduler_on: Callable[[str], Awaitable[SchedulerDouble]]) -> SchedulerDouble:
    """A listed scheduler on the shared Redis."""
    return await scheduler_on(redis_url)


@pytest.fixture
def start_worker_on(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """`start_worker_on(redis_url, scheduler, name, NNPM_...=...)` starts a worker's process; all share one cache."""
    started: list[Process] = []

    def start(redis_url: str, scheduler: SchedulerDouble, name: str = "worker", **environment: str) -> Process:
        path = os.pathsep.join(filter(None, (str(RUNTIMES), os.environ.get("PYTHONPATH", ""))))
        process = Process.service(
            "nnpm_worker",
            tmp_path / f"{name}.log",
            {
                "PYTHONPATH": path,
                "NNPM_WORKER_NAME": name,
                "NNPM_REDIS_URL": redis_url,
                "NNPM_ARTIFACT_ADDRESS": scheduler.address,
                "NNPM_WORKER_CACHE_DIR": str(tmp_path / "cache"),
                **environment,
            },
        )
        started.append(process.start())
        return process

    yield start
    for process in started:
        with process:
            pass


@pytest.fixture
def start_worker(
    redis_server: RedisServer, scheduler: SchedulerDouble, start_worker_on: Callable[..., Process]
) -> Callable[..., Process]:
    """`start_worker(name, NNPM_...=...)`: a worker of `scheduler`."""

    def start(name: str = "worker", **environment: str) -> Process:
        return start_worker_on(redis_server.url, scheduler, name, **environment)

    return start
