"""A worker's process against a real Redis and a scheduler played by the test."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
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
async def scheduler(redis_url: str, sockets: Path) -> AsyncIterator[SchedulerDouble]:
    """A listed scheduler."""
    redis = connect(redis_url)
    double = await SchedulerDouble(redis, sockets / "mesh.sock").start()
    yield double
    await double.stop()
    await redis.aclose()


@pytest.fixture
def start_worker(
    redis_server: RedisServer, scheduler: SchedulerDouble, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """`start_worker(name, NNPM_...=...)` starts a worker's process; all share one cache."""
    started: list[Process] = []

    def start(name: str = "worker", **environment: str) -> Process:
        path = os.pathsep.join(filter(None, (str(RUNTIMES), os.environ.get("PYTHONPATH", ""))))
        process = Process.service(
            "nnpm_worker",
            tmp_path / f"{name}.log",
            {
                "PYTHONPATH": path,
                "NNPM_WORKER_NAME": name,
                "NNPM_REDIS_URL": redis_server.url,
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
