"""ONNX Runtime in a process of its own with nothing around it: the limit of every server at that batch size.

As a program (`python -m benchmarks.peers.in_process`) it reads lines `FILE INPUT OUTPUT NPY RUNS` and writes a line of
JSON for each: seconds, processor seconds, and latencies in milliseconds.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.load_run import LoadError
from benchmarks.points import ONE, Point
from benchmarks.processes import STOP_SECONDS, plain_environment
from benchmarks.sample import Sample, percentile
from benchmarks.workbench import Workbench, session_of

ROOT = Path(__file__).resolve().parents[2]


class InProcess:
    """The limit: batches of as many requests as would be in flight, back to back."""

    name = "in-process"

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._child: subprocess.Popen[str] | None = None

    @property
    def settings(self) -> str:
        return f"ONNX Runtime {onnxruntime.__version__}, CPU, one intra-op thread, batches of the number in flight"

    def serves(self, point: Point) -> bool:
        return point.bodies == ONE and point.copies == 1

    def start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.in_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=plain_environment(),
            start_new_session=True,
        )

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_SECONDS)

    def check(self, point: Point) -> None:
        """It is the reference."""

    def measure(self, point: Point, requests: int) -> Sample:
        """See Contestant.measure."""
        model = self._bench.models[point.model]
        batch = self._bench.folder("in-process") / f"{point.model}-{point.in_flight}.npy"
        if not batch.exists():
            np.save(batch, model.rows(point.in_flight))
        runs = max(3, requests // point.in_flight)
        words = (self._bench.file(model), model.input, model.output, batch, runs)
        answer = self._ask(" ".join(map(str, words)))
        latencies = sorted(answer["latencies"])
        done = runs * point.in_flight
        return Sample(
            requests=done,
            per_second=done / answer["seconds"],
            mean=sum(latencies) / runs,
            p50=percentile(latencies, 0.50),
            p99=percentile(latencies, 0.99),
            cpu={"process": answer["cpu"]},
        )

    def _ask(self, line: str) -> Mapping[str, Any]:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise LoadError("in-process ONNX Runtime was not started")
        child.stdin.write(line + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise LoadError(f"in-process ONNX Runtime ended with {child.wait(STOP_SECONDS)}")
        found: Mapping[str, Any] = json.loads(answer)
        return found


def main() -> None:
    """Answer line after line, until the end of the input."""
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    for line in sys.stdin:
        file, name, output, batch, runs = line.split()
        if file not in sessions:
            sessions[file] = session_of(Path(file))
        session, feed = sessions[file], {name: np.load(batch)}
        session.run([output], feed)
        latencies = [0.0] * int(runs)
        used, begin = time.process_time(), time.perf_counter()
        last = begin
        for number in range(int(runs)):
            session.run([output], feed)
            now = time.perf_counter()
            latencies[number] = (now - last) * 1e3
            last = now
        answer = {"seconds": last - begin, "cpu": time.process_time() - used, "latencies": latencies}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
