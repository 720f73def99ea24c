"""The workers' Sessions: who lives, what they say, and what is said to them.

Free of gRPC: `service_workers` moves the messages. A Session is lost when its stream ends or when nothing was heard on
it for `SILENCE`; then the worker's replicas count no more, and the dispatch path audits what the worker had in hand.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.control.deployments import Revision
from nnpm_scheduler.control.failures import WORKER_LOST, LoadError, LoadFailures
from nnpm_scheduler.control.fleet import Fleet, Replica, ReplicaState, Report, WorkerFacts

LEASE = 2.0
"""Seconds; heartbeats go twice a lease, both ways."""

SILENCE = 2.5
"""Seconds without a word after which a worker is taken for dead: its next heartbeat is three quarters of a lease late.

So what a frozen worker had in hand runs elsewhere within a lease and a second.
"""

MOST_REMEMBERED = 1_000
"""Lost workers that are remembered: their incarnations never come back after a restart."""


@dataclass(frozen=True, slots=True)
class LoadCommand:
    """Load a revision."""

    token: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class UnloadCommand:
    """Unload a revision."""

    token: int
    revision: str


@dataclass(frozen=True, slots=True)
class CancelCommand:
    """Nobody waits for these requests any more."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DrainCommand:
    """Finish, and leave."""


@dataclass(frozen=True, slots=True)
class BeginVerdict:
    """Whether a suspect may be run; answers the worker's Begin."""

    number: int
    wanted: bool


Command = LoadCommand | UnloadCommand | CancelCommand | DrainCommand | BeginVerdict


class Dispatch(Protocol):
    """The part of the dispatch path that must know of a worker's end."""

    def worker_lost(self) -> None:
        """Its Session is gone: see what it had in hand."""
        ...


class Session:
    """One worker's open stream: what is to be sent."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self._outbox: asyncio.Queue[Command | None] = asyncio.Queue()
        self.closed = False
        """Whether the stream is to end: another took its place, or this process stops."""
        self.leaving = False
        """Whether the worker has said that it is about to go."""

    def send(self, command: Command) -> None:
        """To be sent in order."""
        self._outbox.put_nowait(command)

    async def next_command(self, timeout: float) -> Command | None:
        """The next thing to send; None when there is nothing for `timeout` seconds, or the stream is to end."""
        try:
            async with asyncio.timeout(timeout):
                return await self._outbox.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._outbox.put_nowait(None)


class Sessions:
    """All open Sessions, by incarnation."""

    def __init__(self, fleet: Fleet, failures: LoadFailures, dispatch: Dispatch) -> None:
        self._fleet = fleet
        self._failures = failures
        self._dispatch = dispatch
        self._open: dict[str, Session] = {}
        self._lost_at: dict[str, float] = {}
        self._log = get_logger("sessions")

    def live(self) -> Collection[str]:
        """The incarnations that have a Session."""
        return self._open.keys()

    def away(self, worker: str) -> float:
        """Seconds since that incarnation lost its Session; infinite where nothing is known of one."""
        return time.monotonic() - self._lost_at.get(worker, float("-inf"))

    def open(self, facts: WorkerFacts, replicas: Iterable[Replica]) -> Session:
        """A worker said Hello; a Session that it had before gives way."""
        before = self._open.get(facts.incarnation)
        if before is not None:
            before.close()
        session = Session(facts.incarnation)
        self._open[facts.incarnation] = session
        self._lost_at.pop(facts.incarnation, None)
        self._fleet.connect(facts, replicas)
        self._log.info("a worker connected", worker=facts.name, incarnation=facts.incarnation)
        return session

    def lost(self, session: Session) -> None:
        """The Session's stream has ended, for whatever reason."""
        if self._open.get(session.incarnation) is not session:
            return
        del self._open[session.incarnation]
        self._lost_at[session.incarnation] = time.monotonic()
        if len(self._lost_at) > MOST_REMEMBERED:
            del self._lost_at[next(iter(self._lost_at))]
        worker = self._fleet.disconnect(session.incarnation)
        if session.leaving:
            self._log.info("a worker left", incarnation=session.incarnation)
        elif worker is not None:
            for replica in worker.replicas.values():
                if replica.state is ReplicaState.LOADING:
                    message = f"worker {worker.facts.name} was lost while loading it"
                    error = LoadError(WORKER_LOST, message, transient=True)
                    self._failures.record(replica.revision, session.incarnation, error, time.monotonic())
            self._log.warning("a worker was lost", worker=worker.facts.name, incarnation=session.incarnation)
        self._dispatch.worker_lost()

    def report(self, session: Session, report: Report) -> None:
        """A replica changed."""
        if self._open.get(session.incarnation) is not session:
            return
        if report.error is not None:
            self._failures.record(report.revision, session.incarnation, report.error, time.monotonic())
            self._log.warning(
                "a worker could not load a revision",
                incarnation=session.incarnation,
                revision=report.revision,
                reason=report.error.reason,
                error=report.error.message,
            )
        elif report.replica is not None and report.replica.state is ReplicaState.READY:
            self._failures.forget(report.revision)
        self._fleet.report(session.incarnation, report)

    def leaving(self, session: Session) -> None:
        """The worker stops of its own will: its replicas are placed elsewhere at once."""
        session.leaving = True
        if self._open.get(session.incarnation) is session:
            self._fleet.leave(session.incarnation)

    def load(self, worker: str, token: int, revision: Revision) -> None:
        """Tell a worker to load; the replica counts as loading from now on."""
        if self._send(worker, LoadCommand(token, revision)):
            self._fleet.report(worker, Report(revision.id, Replica(revision.id, ReplicaState.LOADING)))

    def unload(self, worker: str, token: int, revision: str) -> None:
        """Tell a worker to finish with a revision; the replica counts as unloading from now on."""
        if self._send(worker, UnloadCommand(token, revision)):
            self._fleet.report(worker, Report(revision, Replica(revision, ReplicaState.UNLOADING)))

    def drain(self, worker: str) -> None:
        """Tell a worker that has nothing loaded any more to leave."""
        self._send(worker, DrainCommand())

    def cancel(self, revision: str, numbers: Sequence[int]) -> None:
        """Tell every worker that may have them that nobody waits for these requests."""
        for worker in self._fleet.workers:
            if worker.has(revision):
                self._send(worker.incarnation, CancelCommand(tuple(numbers)))

    def close(self) -> None:
        """This process stops: end every stream."""
        for session in self._open.values():
            session.close()

    def _send(self, worker: str, command: Command) -> bool:
        session = self._open.get(worker)
        if session is not None:
            session.send(command)
        return session is not None
