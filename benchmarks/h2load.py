"""h2load, nghttp2's load generator in C: HTTP/2 with one connection, or HTTP/1.1 with one a request in flight."""

import re
import shutil
from pathlib import Path

import numpy as np

from benchmarks.load_run import Load, LoadError, Target, log_folder, run_generator

SILENCE_SECONDS = 30
"""A connection on which nothing happens for so long has hung."""

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m|h)\b")
_REQUESTS = re.compile(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def find() -> str:
    """The path of h2load; LoadError where there is none."""
    if found := shutil.which("h2load"):
        return found
    raise LoadError("no h2load on PATH: `sudo apt install nghttp2-client`, or `brew install nghttp2`")


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
    with log_folder() as scratch:
        log = scratch / "log"
        words = command(find(), target, requests=requests, in_flight=in_flight, log=log)
        output, cpu = run_generator(words, timeout)
        return Load(requests, check_report(output, requests), read_log(log.read_bytes()), cpu)


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
