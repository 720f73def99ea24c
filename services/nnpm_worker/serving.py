"""From entries in hand to answers delivered: starts runs, delivers their outcomes, marks their entries done."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from nnpm.errors import Internal, NnpmError
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_worker.deliver import Addressee, Deliverer
from nnpm_worker.execution import BatchResult, Figures, Outcome, failed
from nnpm_worker.hands import Hands, Held, HeldState
from nnpm_worker.patience import Patience
from nnpm_worker.replica import Replica
from nnpm_worker.requests import Job
from nnpm_worker.spans import BatchSpans
from nnpm_worker.timer import PreciseTimer
from nnpm_worker.watchdog import Watchdog

_MOST_CLAIMED = 128 * 1024 * 1024
"""Bytes of large bodies that are fetched for one batch."""

_AHEAD_SECONDS = 0.001
"""So long before its run's end the next batch is read: two answers of Redis."""

_LOOK_SECONDS = 0.0002
"""How often Redis is asked for more while a batch waits for company."""

_log = get_logger("serving")


@dataclass(slots=True)
class Server:
    """A replica that takes requests.

    Attributes:
        replica: runs them.
        patience: how long a batch waits.
        busy: something runs.
        leaving: nothing more is read.
        requests_per_entry: a running mean, to read about one batch at a time.
        ends: when the run will end, as far as is known; on the monotonic clock, seconds.
        ahead: requests that were read while it runs.
        left: nothing is in hand any more.
    """

    replica: Replica
    patience: Patience
    busy: bool = False
    leaving: bool = False
    requests_per_entry: float = 1.0
    ends: float = math.inf
    ahead: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def entries_wanted(self) -> int:
        """How many entries to read now: what can be started now, or once the run that is about to end has ended.

        No earlier, so that an idle worker gets what comes meanwhile.
        """
        if self.leaving:
            return 0
        if self.busy and (self.ahead or time.monotonic() < self.ends - _AHEAD_SECONDS):
            return 0
        if not self.replica.plan.joins:
            return 1
        return max(1, round(self.replica.plan.rows / self.requests_per_entry))

    def saw(self, held: Held) -> None:
        """An entry came."""
        self.requests_per_entry += 0.2 * (held.entry.requests - self.requests_per_entry)
        if self.busy:
            self.ahead += held.entry.requests
        for job in held.jobs:
            self.patience.returns.arrived(job.block.count, job.admitted_ns / 1e9)

    def wait(self, batch: Sequence[Held]) -> float:
        """How long a batch waits for company yet, seconds. (All counts of the patience are requests.)"""
        if not self.replica.plan.joins or self.leaving:
            return 0.0
        requests = sum([held.entry.requests for held in batch])
        since = min([job.received_ns for job in batch[0].jobs], default=0) / 1e9
        return self.patience.seconds(requests, since, time.monotonic())


class Serving:
    """Runs what is in hand.

    Args:
        hands: what is in hand.
        deliverer: of outcomes and of claimed bodies.
        begin: asks a suspect's scheduler whether it may be run; may raise NnpmError or TimeoutError.
        spans: of sampled requests.
        metrics: of requests.
        watchdog: of runs.
        changed: set whenever there is something new for the reading loop to do.
    """

    def __init__(
        self,
        *,
        hands: Hands,
        deliverer: Deliverer,
        begin: Callable[[str, int, int], Awaitable[bool]],
        spans: BatchSpans,
        metrics: Metrics,
        watchdog: Watchdog,
        changed: asyncio.Event,
    ) -> None:
        self._hands = hands
        self._deliverer = deliverer
        self._begin = begin
        self._spans = spans
        self._metrics = metrics
        self._watchdog = watchdog
        self._changed = changed
        self._runs: set[asyncio.Task[None]] = set()
        self._alone = False
        self._timer = PreciseTimer(changed.set)
        self._wakes = 0.0
        self.servers: dict[str, Server] = {}
        """By revision."""

    @property
    def suspect_is_near(self) -> bool:
        """Whether a suspect runs or waits: nothing else is read or begun meanwhile."""
        return self._alone or any(held.entry.suspect for held in self._hands.in_state(HeldState.WAITING))

    def start_runs(self) -> None:
        """Start every run that can be started now."""
        waiting = self._hands.in_state(HeldState.WAITING)
        suspect = next((held for held in waiting if held.entry.suspect), None)
        if self._alone:
            return
        if suspect is not None:
            if not self._runs:
                self._alone = True
                self._start(self.servers[suspect.revision], [suspect])
            return
        for revision, server in self.servers.items():
            if server.busy:
                self._wake_before(server.ends)
            elif batch := self._batch(revision, server, waiting):
                if server.wait(batch) > 0:
                    self._wake_at(time.monotonic() + _LOOK_SECONDS)
                else:
                    self._start(server, batch)

    async def close(self) -> None:
        """Give up what still runs: its scheduler will see this worker gone, and take it back."""
        runs = list(self._runs)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        self._timer.close()

    def _batch(self, revision: str, server: Server, waiting: Sequence[Held]) -> list[Held]:
        """The next entries of a revision: about one batch of requests, and no more claimed bytes than fit in memory."""
        own = [held for held in waiting if held.revision == revision]
        most = server.patience.fitting(sum([held.entry.requests for held in own]))
        batch: list[Held] = []
        requests = claimed = 0
        for held in own:
            requests += held.entry.requests
            claimed += held.claimed_bytes
            if batch and (requests > most or claimed > _MOST_CLAIMED):
                break
            batch.append(held)
        return batch

    def _start(self, server: Server, batch: Sequence[Held]) -> None:
        server.busy, server.ahead = True, 0
        for held in batch:
            held.state = HeldState.RUNNING
        cost = server.patience.costs.of(sum([held.entry.requests for held in batch]))
        server.ends = time.monotonic() + cost if cost else math.inf
        self._wake_before(server.ends)
        run = asyncio.create_task(self._run(server, batch))
        self._runs.add(run)
        run.add_done_callback(self._ended)

    def _wake_before(self, end: float) -> None:
        """When the next batch is to be read ahead."""
        if end - _AHEAD_SECONDS > time.monotonic() and end < math.inf:
            self._wake_at(end - _AHEAD_SECONDS)

    def _wake_at(self, when: float) -> None:
        """Make the loop turn, at the latest then; who asked for a later time asks again in that turn."""
        now = time.monotonic()
        if not now < self._wakes <= when:
            self._wakes = when
            self._timer.set(when - now)

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._changed.set()
        if not run.cancelled() and (error := run.exception()) is not None:
            # Its entries stay in hand unanswered until their scheduler's deadline; that must not pass silently.
            _log.error("a run ended by a fault of the worker's own", error=repr(error), exc_info=error)

    async def _run(self, server: Server, batch: Sequence[Held]) -> None:
        alone = batch[0].entry.suspect
        try:
            try:
                result = await self._result(server, batch)
            finally:
                # Free before Deliver is answered: the next batch, which may be here already, runs meanwhile.
                self._free(server)
            if result is not None:
                self._observe(server.replica.revision.id, result)
                await self._deliver(server.replica.revision.id, batch, result)
        finally:
            if alone:
                self._alone = False

    async def _result(self, server: Server, batch: Sequence[Held]) -> BatchResult | None:
        """What becomes of a batch; None when it is not to be answered."""
        if batch[0].entry.suspect and not await self._may_begin(batch[0]):
            return None
        refused = await self._redeem(batch)
        jobs = [job for held in batch for job in held.jobs if job not in refused]
        result = await self._execute(server, jobs)
        if result.figures.requests:
            now = time.monotonic()
            server.patience.costs.learn(result.figures.requests, now - result.started_ns / 1e9)
            server.patience.returns.answered(sum([held.entry.requests for held in batch]), now)
        result.outcomes.extend(outcome for job, error in refused.items() for outcome in failed(job, error))
        return result

    def _free(self, server: Server) -> None:
        server.busy, server.ahead = False, 0
        self.start_runs()
        self._changed.set()

    async def _may_begin(self, held: Held) -> bool:
        """Ask for a suspect. Not wanted: it is done with. No answer: it is parked until there is a Session."""
        request = held.jobs[0].block
        try:
            go = await self._begin(held.entry.scheduler, request.number, request.nonce)
        except (NnpmError, TimeoutError) as error:
            _log.warning("a suspect's scheduler does not answer", number=request.number, why=str(error))
            held.state = HeldState.PARKED
            return False
        if not go:
            self._hands.done(held)
        return go

    async def _redeem(self, batch: Sequence[Held]) -> dict[Job, NnpmError]:
        """Fetch the bodies of claimed requests; returns those that could not be had."""
        claimed = [(held, job) for held in batch for job in held.jobs if not job.complete and not job.cancelled]
        if not claimed:
            return {}
        refused: dict[Job, NnpmError] = {}

        async def redeem(held: Held, job: Job) -> None:
            block = job.block
            try:
                job.redeemed(
                    await self._deliverer.redeem(_addressee(held), block.number, block.nonce, block.claim_size)
                )
                self._metrics.bytes.labels("redeemed").inc(block.claim_size)
            except NnpmError as error:
                refused[job] = error

        async with asyncio.TaskGroup() as group:
            for held, job in claimed:
                group.create_task(redeem(held, job))
        return refused

    async def _execute(self, server: Server, jobs: Sequence[Job]) -> BatchResult:
        try:
            return await self._execute_watched(server.replica, jobs)
        except NnpmError as fault:
            outcomes = [outcome for job in jobs for outcome in failed(job, fault)]
            return BatchResult(outcomes, Figures(), time.monotonic_ns())

    async def _execute_watched(self, replica: Replica, jobs: Sequence[Job]) -> BatchResult:
        run = object()
        execution = replica.execution
        self._watchdog.begin(run)
        try:
            return await replica.thread.call(lambda: execution.run(jobs))
        except Exception as error:
            # A fault of this code: these calls fail at once rather than at their deadlines.
            _log.exception("a batch failed", revision=replica.revision.id)
            raise Internal("INTERNAL_ERROR", f"the worker failed: {type(error).__name__}") from error
        finally:
            self._watchdog.end(run)

    async def _deliver(self, revision: str, batch: Sequence[Held], result: BatchResult) -> None:
        """One Deliver a scheduler; an entry is done once its scheduler has answered."""
        outcomes: dict[Job, list[Outcome]] = {}
        for outcome in result.outcomes:
            outcomes.setdefault(outcome.job, []).append(outcome)
        by_scheduler: dict[Addressee, list[Held]] = {}
        for held in batch:
            by_scheduler.setdefault(_addressee(held), []).append(held)

        async def deliver(to: Addressee, entries: Sequence[Held]) -> None:
            own = [outcome for held in entries for job in held.jobs for outcome in outcomes.get(job, ())]
            await self._deliverer.deliver(to, revision, own, result.figures, result.started_ns)
            for held in entries:
                self._hands.done(held)
            self._changed.set()

        async with asyncio.TaskGroup() as group:
            for to, entries in by_scheduler.items():
                group.create_task(deliver(to, entries))

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


def _addressee(held: Held) -> Addressee:
    return Addressee(held.entry.scheduler, held.entry.reply_address)
