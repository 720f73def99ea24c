"""A steady trickle of inference calls, each of which leaves a record: when it ended, and how."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support.reference import Reference
from support.waiting import wait_until

PAUSE_S = 0.02
DEADLINE_S = 5.0
# What an accepted call may end with by the contract: out of reach or starting, too late, or too many.
DOCUMENTED = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True, slots=True)
class Call:
    """When a call ended (monotonic seconds) and its status; `right` says whether the answer was the expected one."""

    ended: float
    status: str
    right: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A package whose model takes `x`, FP32 [n, 4], and answers `y`: its file, and ONNX Runtime's own answers."""

    package: str
    model: Path
    reference: Reference

    def expected(self, x: np.ndarray) -> np.ndarray:
        return self.reference.run({"x": x})["y"]


class Trickle:
    """Calls a published package from several threads, a connection each, until left.

    Args:
        address: of the scheduler.
    """

    def __init__(self, address: str, published: Published, *, threads: int = 2) -> None:
        self._address = address
        self._published = published
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    @property
    def failed(self) -> list[Call]:
        return [call for call in self.calls if not call.right]

    def statuses(self) -> dict[str, int]:
        return dict(Counter(call.status for call in self.calls))

    def wait_for_successes(self, count: int, deadline: float) -> float:
        """Until `count` more calls were answered rightly; the seconds that it took."""
        begin, before = time.monotonic(), self._right()
        wait_until(lambda: self._right() >= before + count, deadline, what=f"{count} answers ({self.statuses()})")
        return time.monotonic() - begin

    def longest_outage(self) -> float:
        """Seconds between a right answer and the next, at most."""
        ends = sorted(call.ended for call in self.calls if call.right)
        return max((later - earlier for earlier, later in pairwise(ends)), default=0.0)

    def _right(self) -> int:
        return sum(call.right for call in self.calls)

    def _run(self, number: int) -> None:
        random = np.random.default_rng(number)
        # The default waits up to two minutes before it looks again for a server that was away.
        back_off = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]
        with triton.InferenceServerClient(self._address, channel_args=back_off) as client:
            while not self._stop.wait(PAUSE_S):
                call = self._call(client, random.standard_normal((1, 4), dtype=np.float32))
                with self._lock:
                    self._calls.append(call)

    def _call(self, client: triton.InferenceServerClient, x: np.ndarray) -> Call:
        given = triton.InferInput("x", list(x.shape), "FP32")
        given.set_data_from_numpy(x)
        try:
            answer = client.infer(self._published.package, [given], client_timeout=DEADLINE_S).as_numpy("y")
        except InferenceServerException as error:
            status = str(error.status()).removeprefix("StatusCode.")
            return Call(time.monotonic(), status, right=False, message=str(error))
        if np.allclose(answer, self._published.expected(x), atol=1e-5):
            return Call(time.monotonic(), "OK", right=True)
        return Call(time.monotonic(), "WRONG", right=False, message=f"{x} -> {answer}")

    def __enter__(self) -> "Trickle":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S + 5)
