"""From entries in hand to answers delivered: starts runs, delivers their outcomes, marks their entries done."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from nnpm.errors import Internal, NnpmError, Unavailable
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_worker.deliver import Addressee, Deliverer
from nnpm_worker.execution import BatchResult, Execution, Figures, Outcome, failed
from nnpm_worker.hands import Hands, Held, HeldState
from nnpm_worker.requests import Job
from nnpm_worker.server import Batch, Server
from nnpm_worker.spans import BatchSpans
from nnpm_worker.watchdog import Watchdog

_log = get_logger("serving")


class Serving:
    """Runs what is in hand. All methods are called on the event loop.

    Args:
        hands: what is in hand.
        deliverer: of outcomes and of claimed bodies.
        begin: asks a suspect's scheduler whether it may be run; may raise NnpmError or TimeoutError.
        spans: of sampled requests.
        metrics: of requests.
        watchdog: of runs.
    """

    def __init__(
        self,
        *,
        hands: Hands,
        deliverer: Deliverer,
        begin: Callable[[str, int, int, bytes], Awaitable[bool]],
        spans: BatchSpans,
        metrics: Metrics,
        watchdog: Watchdog,
    ) -> None:
        self._hands = hands
        self._deliverer = deliverer
        self._begin = begin
        self._spans = spans
        self._metrics = metrics
        self._watchdog = watchdog
        self._fetching: set[asyncio.Task[None]] = set()
        self._closed = False
        self.servers: dict[str, Server] = {}
        """By revision."""
        self.suspect: Held | None = None
        """The one in hand, if there is one: then nothing more is read."""

    def came(self, entries: Sequence[Held]) -> None:
        """Entries were taken in hand, or are parked no longer."""
        servers = []
        for held in entries:
            if held.state is not HeldState.WAITING:
                continue
            if held.entry.suspect:
                self._suspect_came(held)
                continue
            server = self.servers[held.revision]
            server.add(held)
            if server not in servers:
                servers.append(server)
        for server in servers:
            self.see_to(server)

    def see_to(self, server: Server) -> None:
        """Start what can be started now, and read what is wanted next."""
        while not self._closed and (batch := server.next_batch()) is not None:
            self._start(server, batch)
        server.reader.want()

    def _suspect_came(self, held: Held) -> None:
        """One is kept. Others would wait until it has run alone, and another worker can run them now."""
        if self.suspect is None:
            self.suspect = held
            return
        held.state = HeldState.RUNNING
        error = Unavailable("NOT_BEGUN", "this worker runs another suspect, alone")
        now = time.monotonic_ns()
        outcomes = [outcome for job in held.jobs for outcome in failed(job, error)]
        self._deliver(self.servers[held.revision], Batch([held], held.rows), BatchResult(outcomes, Figures(), now, now))

    async def run_suspect(self, held: Held) -> None:
        """Run it; nothing else may run, be begun, or wait for its Deliver's answer meanwhile."""
        try:
            # It may have been taken back since it came.
            if held.state is HeldState.WAITING and await self._may_begin(held):
                await self._run_alone(held)
        finally:
            self.suspect = None

    def close(self) -> None:
        """Give up what still runs: its scheduler will see this worker gone, and take it back."""
        self._closed = True
        for task in self._fetching:
            task.cancel()

    async def _run_alone(self, held: Held) -> None:
        held.state = HeldState.RUNNING
        batch = Batch([held], held.rows)
        refused = await self._redeem(batch)
        answered = asyncio.Event()
        self._run(self.servers[held.revision], batch, refused, answered.set)
        await answered.wait()

    def _start(self, server: Server, batch: Batch) -> None:
        for held in batch.entries:
            held.state = HeldState.RUNNING
        if any(not job.complete for held in batch.entries for job in held.jobs):
            server.running += 1  # nothing else is started meanwhile, or it would overtake
            fetching = asyncio.ensure_future(self._fetch_and_run(server, batch))
            self._fetching.add(fetching)
            fetching.add_done_callback(self._fetching.discard)
        else:
            self._run(server, batch, {})

    async def _fetch_and_run(self, server: Server, batch: Batch) -> None:
        try:
            refused = await self._redeem(batch)
        finally:
            server.running -= 1
        self._run(server, batch, refused)
        self.see_to(server)

    def _run(
        self,
        server: Server,
        batch: Batch,
        refused: dict[Job, NnpmError],
        answered: Callable[[], None] | None = None,
    ) -> None:
        jobs = [job for held in batch.entries for job in held.jobs if job not in refused]
        server.started(batch)
        self._watchdog.begin(batch)

        def ran(result: BatchResult | None, error: BaseException | None) -> None:
            self._watchdog.end(batch)
            if result is None:
                result = self._faulty(server, jobs, error)
            result.outcomes.extend(outcome for job, why in refused.items() for outcome in failed(job, why))
            server.ended(batch, jobs, result.seconds)
            if not self._closed:
                self._deliver(server, batch, result, answered)
                self._observe(server.replica.revision.id, result)

        if answered is None and server.is_short(jobs):
            ran(*_run_here(server.replica.execution, jobs))
        else:
            server.replica.thread.submit(
                partial(server.replica.execution.run, jobs), partial(self._then_go_on, server, ran)
            )

    def _then_go_on(
        self,
        server: Server,
        ran: Callable[[BatchResult | None, BaseException | None], None],
        result: BatchResult | None,
        error: BaseException | None,
    ) -> None:
        ran(result, error)
        self.see_to(server)

    def _faulty(self, server: Server, jobs: Sequence[Job], error: BaseException | None) -> BatchResult:
        """A fault of this code: these calls fail at once rather than at their deadlines."""
        _log.error("a batch failed", revision=server.replica.revision.id, error=repr(error), exc_info=error)
        fault = Internal("INTERNAL_ERROR", f"the worker failed: {type(error).__name__}")
        now = time.monotonic_ns()
        return BatchResult([outcome for job in jobs for outcome in failed(job, fault)], Figures(), now, now)

    async def _may_begin(self, held: Held) -> bool:
        """Ask for a suspect. Not wanted: it is done with. No answer: it is parked until there is a Session."""
        request = held.jobs[0].block
        try:
            go = await self._begin(held.entry.scheduler, request.number, request.nonce, held.id)
        except (NnpmError, TimeoutError) as error:
            _log.warning("a suspect's scheduler does not answer", number=request.number, why=str(error))
            held.state = HeldState.PARKED
            return False
        if not go:
            self.servers[held.revision].reader.answered(held)
        return go

    async def _redeem(self, batch: Batch) -> dict[Job, NnpmError]:
        """Fetch the bodies of claimed requests; returns those that could not be had."""
        refused: dict[Job, NnpmError] = {}

        async def redeem(to: Addressee, job: Job) -> None:
            block = job.block
            try:
                job.redeemed(await self._deliverer.redeem(to, block.number, block.nonce, block.claim_size))
                self._metrics.bytes.labels("redeemed").inc(block.claim_size)
            except NnpmError as error:
                refused[job] = error

        async with asyncio.TaskGroup() as group:
            for held in batch.entries:
                for job in held.jobs:
                    if not job.complete and not job.cancelled:
                        group.create_task(redeem(_addressee(held), job))
        return refused

    def _deliver(
        self, server: Server, batch: Batch, result: BatchResult, answered: Callable[[], None] | None = None
    ) -> None:
        """One Deliver a scheduler; an entry is done once its scheduler has answered."""
        revision = server.replica.revision.id
        by_scheduler: dict[Addressee, list[Held]] = {}
        for held in batch.entries:
            by_scheduler.setdefault(_addressee(held), []).append(held)
        left = len(by_scheduler)

        def done(entries: Sequence[Held]) -> None:
            nonlocal left
            for held in entries:
                server.reader.answered(held)
            left -= 1
            if not left and answered is not None:
                answered()

        for to, entries in by_scheduler.items():
            own = result.outcomes if len(by_scheduler) == 1 else _of(entries, result)
            self._deliverer.deliver(to, revision, own, result, partial(done, entries))

    def _observe(self, revision: str, result: BatchResult) -> None:
        metrics = self._metrics
        now = time.monotonic_ns()
        for rows in result.figures.runs:
            metrics.batch_size.labels(revision).observe(rows)
        queue_time = metrics.queue_time.labels(revision)
        latency = metrics.latency.labels("run")
        for outcome in result.outcomes:
            count = outcome.count
            metrics.requests.labels("run", outcome.error.code if outcome.error else "OK").inc(count)
            if outcome.error is not None:
                metrics.errors.labels(outcome.error.reason).inc(count)
            queue_time.observe(max(0, result.started_ns - outcome.job.admitted_ns) / 1e9, count)
            latency.observe((now - outcome.job.received_ns) / 1e9, count)
        self._spans.record(revision, result)


def _run_here(execution: Execution, jobs: Sequence[Job]) -> tuple[BatchResult | None, BaseException | None]:
    """As the model's thread would."""
    try:
        return execution.run(jobs), None
    except Exception as error:  # noqa: BLE001 -- a fault of this code, told like one in the thread
        return None, error


def _of(entries: Sequence[Held], result: BatchResult) -> list[Outcome]:
    jobs = {job for held in entries for job in held.jobs}
    return [outcome for outcome in result.outcomes if outcome.job in jobs]


def _addressee(held: Held) -> Addressee:
    return Addressee(held.entry.scheduler, held.entry.reply_address)
