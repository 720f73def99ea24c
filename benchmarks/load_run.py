"""What the generators have in common: what they are aimed at, how they are run, and what they see."""

import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")


class LoadError(Exception):
    """A generator, or what it was aimed at, failed."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send what: a file with the body, and HTTP headers, each `name: value`."""

    url: str
    body: Path
    headers: Sequence[str] = GRPC_HEADERS
    http1: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator saw: seconds from start to end, latencies in milliseconds (ascending), its own CPU seconds."""

    requests: int
    seconds: float
    latencies: Sequence[float]
    cpu: float


@contextmanager
def log_folder() -> Iterator[Path]:
    """A folder for a generator's log, in memory where there is such a place: a log must not wait for a disk."""
    memory = Path("/dev/shm")  # noqa: S108 -- the folder made in it is private
    with tempfile.TemporaryDirectory(prefix="nnpm-bench-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def run_generator(words: Sequence[str], timeout: float) -> tuple[str, float]:
    """Run a generator to its end: what it printed, and its CPU seconds. Raises LoadError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as fault:
        raise LoadError(f"no end after {timeout:g} s of `{' '.join(words)}`") from fault
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise LoadError(f"`{' '.join(words)}` exited {done.returncode}: {done.stderr[-500:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
