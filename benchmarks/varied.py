"""Our own generator (Go, `benchmarks/load`): for requests that differ, which h2load cannot send."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load_run import Load, LoadError, Target, log_folder, run_generator


def command(program: Path, target: Target, *, requests: int, in_flight: int, log: Path) -> list[str]:
    """The command line; see benchmarks/load/main.go."""
    url = urlsplit(target.url)
    return [
        *(str(program), "-addr", url.netloc, "-path", url.path, "-body", str(target.body)),
        *("-n", str(requests), "-m", str(in_flight), "-latencies", str(log)),
    ]


def run(program: Path, target: Target, *, requests: int, in_flight: int, timeout: float) -> Load:
    """Send `requests`, `in_flight` at a time. Raises LoadError unless every reply said grpc-status 0."""
    with log_folder() as scratch:
        log = scratch / "log"
        words = command(program, target, requests=requests, in_flight=in_flight, log=log)
        output, cpu = run_generator(words, timeout)
        report = json.loads(output)
        if report["ok"] != requests:
            raise LoadError(f"of {requests} requests {report['ok']} succeeded ({target.url})")
        return Load(requests, report["seconds"], read_latencies(log.read_bytes()), cpu)


def read_latencies(content: bytes) -> list[float]:
    """In milliseconds, ascending, from little-endian uint32 microseconds."""
    ordered: list[float] = (np.sort(np.frombuffer(content, "<u4")) / 1e3).tolist()
    return ordered
