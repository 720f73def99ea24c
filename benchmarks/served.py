"""Measures a server: load from a generator, successes and processor time from the server's side."""

import time
from collections.abc import Callable

import grpc
import numpy as np

from benchmarks import h2load, proc_stat, varied
from benchmarks.contestant import Server
from benchmarks.counts import Counts
from benchmarks.load_run import Load, LoadError
from benchmarks.models import Model, Tensor
from benchmarks.points import ONE, Point
from benchmarks.sample import GENERATOR, Sample, percentile
from benchmarks.workbench import Workbench

COUNT_SECONDS = 5.0
"""A server may count a call a little after it answered it."""

PATIENCE_SECONDS, SLOWEST_SECONDS = 60.0, 2.0
"""How long a run may take at most: so much, and so much more for every request."""

Expect = Callable[[Model, Tensor], Tensor]


class Served:
    """A contestant that is a server.

    Args:
        expect: what an answer must be like.
    """

    def __init__(self, bench: Workbench, server: Server, expect: Expect) -> None:
        self._bench = bench
        self._server = server
        self._expect = expect

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def settings(self) -> str:
        return self._server.settings

    def serves(self, point: Point) -> bool:
        return self._server.serves(point)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def check(self, point: Point) -> None:
        """See Contestant.check: one row, and three, with values that no load has sent.

        They are waited for in the server's counts too, so that none of them is taken for one of the load's.
        """
        model, counted = self._bench.models[point.model], self._server.counts(point)
        row_counts = (1, 3) if point.mixed else (1,)
        for count in row_counts:
            rows = model.rows(count, seed=1000 + count)
            try:
                answer = self._server.answer(model, rows)
            except (grpc.RpcError, OSError) as fault:
                raise LoadError(f"{self.name} does not answer {point.case}: {fault}") from fault
            expected = self._expect(model, rows)
            if answer.shape != expected.shape or not np.allclose(answer, expected, rtol=1e-4, atol=1e-5):
                raise LoadError(f"{self.name} answers {point.case} otherwise than ONNX Runtime does")
        self._counted(point, counted, len(row_counts))

    def measure(self, point: Point, requests: int) -> Sample:
        """See Contestant.measure."""
        counted = self._server.counts(point)
        groups = self._server.processes()
        used = proc_stat.of_groups(groups)
        load = self._send(point, requests)
        cpu = {name: seconds - used[name] for name, seconds in proc_stat.of_groups(groups).items()}
        split = self._counted(point, counted, requests)
        return Sample(
            requests=requests,
            per_second=requests / load.seconds,
            mean=sum(load.latencies) / len(load.latencies),
            p50=percentile(load.latencies, 0.50),
            p99=percentile(load.latencies, 0.99),
            cpu=cpu | {GENERATOR: load.cpu},
            split=split,
        )

    def _send(self, point: Point, requests: int) -> Load:
        target, timeout = self._server.target(point), PATIENCE_SECONDS + requests * SLOWEST_SECONDS
        if point.bodies == ONE:
            return h2load.run(target, requests=requests, in_flight=point.in_flight, timeout=timeout)
        program = self._bench.load_program()
        return varied.run(program, target, requests=requests, in_flight=point.in_flight, timeout=timeout)

    def _counted(self, point: Point, before: Counts, requests: int) -> dict[str, float]:
        """Where the server's time went; LoadError unless it counts just as many successes as the generator."""
        until = time.monotonic() + COUNT_SECONDS
        while (now := self._server.counts(point)).successes - before.successes < requests:
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        successes = now.successes - before.successes
        if successes != requests:
            raise LoadError(
                f"{self.name} counts {successes} successes at {point.case}, {point.in_flight} in flight, "
                f"where {requests} were sent"
            )
        return now.split_since(before)
