"""The dispatch core in memory: its real parts over a stream that a test holds in its hands. Needs a running loop."""

import asyncio
from collections.abc import Collection, Sequence
from random import Random

from nnpm.errors import NnpmError
from nnpm.queue.entry import Block, Decoder
from nnpm.rpc.status import to_status
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.dispatch.boarding import Limits
from nnpm_scheduler.dispatch.call import METADATA
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls, Outcome
from nnpm_scheduler.dispatch.envelope import Envelope
from nnpm_scheduler.dispatch.inflight import InFlight, Posted
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.plain import split
from nnpm_scheduler.dispatch.replies import Reply
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.statistics import BatchFigures, Statistics
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.turn import Dispatch
from support.front import echo_request, revision, table

FIGURES = BatchFigures(1, 1, 10, 20, 30)
REVISION = "acme-echo.1"


def call_of(body: bytes, *, timeout: float | None = 60.0, traceparent: str = "") -> AioCall:
    """A call as the grpc.aio transport makes it."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    metadata = (traceparent, *[""] * (len(METADATA) - 1))
    return AioCall(body, split(body), timeout, metadata, "ModelInfer", future)


class Tape:
    """A stream that keeps entries, as Redis does; the test says when they are written, and whether."""

    def __init__(self) -> None:
        self.open = True
        self.appended: list[Posted] = []
        self.removed: list[Posted] = []

    def append(self, entries: Sequence[Posted]) -> None:
        """As `Stream`."""
        self.appended += entries

    def remove(self, entry: Posted) -> None:
        """As `Stream`."""
        self.removed.append(entry)

    def take(self) -> list[Posted]:
        """What was appended since."""
        entries, self.appended = self.appended, []
        return entries


class Told:
    """What the workers were told of cancelled requests."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def live(self) -> Collection[str]:
        """As `audit.Workers`."""
        return ()

    def away(self, worker: str) -> float:
        """As `audit.Workers`."""
        del worker
        return float("inf")

    def cancel(self, revision: str, numbers: Sequence[int]) -> None:
        """As `audit.Workers`."""
        del revision
        self.numbers += numbers


class Core:
    """A dispatch core with one echoing revision."""

    def __init__(self, *, ready: int = 1, batch: int = 16, timeout: float = 60.0, claim_above: int = 1 << 20) -> None:
        self.metrics, self.statistics = Metrics(), Statistics()
        self.routes, self.inflight = Routes(), InFlight()
        self.stream, self.told = Tape(), Told()
        meter, tracer = Meter(self.metrics, self.statistics), CallTracer(None, 0.0, Random(1))
        self.dispatch = Dispatch(self.routes, self.inflight, meter, tracer, Limits(timeout, claim_above))
        self.dispatch.connect(stream=self.stream, workers=self.told)  # type: ignore[arg-type] # a Stream in memory
        self.envelope = Envelope("s", "unix:/nowhere", claim_above)
        self.routes.replace(table(revision(ready=ready, batch=batch)))
        self._written = 0

    def scale(self, ready: int, batch: int = 16) -> None:
        """So many warm replicas from now on."""
        self.routes.replace(table(revision(ready=ready, batch=batch)))

    def send(self, count: int, *, first: int = 0, timeout: float | None = 60.0) -> list[AioCall]:
        """So many calls in one block; each has its number as id and as the first of its values."""
        calls = [call_of(echo_request([n, 0, 0], id=str(n)), timeout=timeout) for n in range(first, first + count)]
        self.dispatch.take([AioCalls(list(calls))])
        return calls

    def write(self) -> list[Posted]:
        """Redis has taken what was appended."""
        entries = self.stream.take()
        for entry in entries:
            self._written += 1
            entry.id = b"%d-0" % self._written
        self.dispatch.written(entries)
        return entries

    def blocks(self, entry: Posted) -> tuple[Block, ...]:
        """An entry as a worker reads it."""
        return Decoder().decode(self.envelope.encode(entry)).blocks

    def answer(self, block: Block, offset: int = 0, count: int | None = None) -> int:
        """Echoes so many of a block's requests, all by default."""
        count = block.count - offset if count is None else count
        size = len(block.raw[0]) // block.count
        raw = [block.raw[0][offset * size : (offset + count) * size]]
        return self.deliver(Reply(block.number, block.nonce, offset, count, b"\x0a\x01m", raw))

    def fail(self, block: Block, error: NnpmError, offset: int = 0, count: int | None = None) -> int:
        """A worker's status for so many of a block's requests."""
        count = block.count - offset if count is None else count
        status = to_status(error).SerializeToString()
        return self.deliver(Reply(block.number, block.nonce, offset, count, b"", (), status))

    def deliver(self, *replies: Reply) -> int:
        """A batch's replies."""
        return self.dispatch.deliver(REVISION, replies, FIGURES)

    def cancel(self, *calls: AioCall) -> None:
        """Their clients are gone."""
        for call in calls:
            call.outcome.cancel()
        self.dispatch.cancel([call.place for call in calls if call.place is not None])

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def assert_balanced(self) -> None:
        """Tables are empty, windows are closed, and the gauge is at zero."""
        tables = self.inflight
        assert (len(tables), tables.entries(), list(tables.revisions())) == (0, [], [])
        for window in self.dispatch._queues._windows.values():
            assert (window._out, window._suspects_out, bool(window)) == (0, 0, False)
        assert self.sample("nnpm_in_flight_calls") == 0
