"""h2load, nghttp2's load generator in C: HTTP/2 with one connection, or HTTP/1.1 with one a request in flight."""

import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
SILENCE_SECONDS = 30
"""A connection on which nothing happens for so long has hung."""

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m|h)\b")
_REQUESTS = re.compile(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


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


def require() -> str:
    """The path of h2load; installs Debian's package where that is allowed. LoadError with what to do otherwise."""
    if found := shutil.which("h2load"):
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "nghttp2-client"]):
            subprocess.run(["apt-get", *words], capture_output=True, check=False)
        if found := shutil.which("h2load"):
            return found
    raise LoadError("no h2load: put it on PATH (`sudo apt install nghttp2-client`, `brew install nghttp2`)")


def command(program: str, target: Target, *, requests: int, in_flight: int, log: Path) -> list[str]:
    """The command line. Requests are counted (-n): with a duration (-D) h2load has been seen to complete none."""
    shape = ["--h1", f"-c{in_flight}"] if target.http1 else ["-c1", f"-m{in_flight}"]
    headers = [word for header in target.headers for word in ("-H", header)]
    return [
        *(program, "-t1", *shape, f"-n{requests}", "-N", str(SILENCE_SECONDS), f"--log-file={log}"),
        *("-d", str(target.body), *headers, target.url),
    ]


def run(target: Target, *, requests: int, in_flight: int, timeout: float) -> Load:
    """Send `requests`, `in_flight` at a time. Raises LoadError unless every one of them succeeded."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 -- a log must not wait for a disk
    with tempfile.TemporaryDirectory(prefix="nnpm-bench-", dir=folder) as scratch:
        log = Path(scratch) / "log"
        words = command(require(), target, requests=requests, in_flight=in_flight, log=log)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as fault:
            raise LoadError(f"h2load had no answer to {requests} requests in {timeout:g} s ({target.url})") from fault
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise LoadError(f"h2load exited {done.returncode}: {done.stderr[-500:]}")
        seconds = check_report(done.stdout, requests)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Load(requests, seconds, read_log(log.read_bytes()), cpu)


def check_report(report: str, requests: int) -> float:
    """The seconds that h2load's report names; LoadError when it does not name `requests` successes."""
    counts, finished = _REQUESTS.search(report), _FINISHED.search(report)
    if counts is None or finished is None:
        raise LoadError(f"h2load's report is not understood:\n{report[-1000:]}")
    if int(counts[2]) != requests:
        raise LoadError(f"of {requests} requests {counts[2]} succeeded: {counts[0]}")
    return float(finished[1]) * _UNITS[finished[2]]


def read_log(content: bytes) -> list[float]:
    """The latencies in a --log-file, in milliseconds, ascending; its lines are start, status, microseconds."""
    if not content:
        return []
    columns = np.array(content.split(), dtype=np.int64).reshape(-1, 3)
    ordered: list[float] = (np.sort(columns[:, 2]) / 1e3).tolist()
    return ordered


def wait_time(rate: float, requests: int) -> float:
    """How long to wait for a run that should take requests / rate seconds."""
    return 30.0 + 20.0 * requests / max(rate, 1e-9)
