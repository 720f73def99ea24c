"""Observed state: the workers that have a Session now, and what each has loaded."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.failures import LoadError


class ReplicaState(enum.Enum):
    """Where a replica stands, in the order in which it goes through them."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a revision on a worker.

    Attributes:
        memory: measured bytes; 0 while unknown.
        batched: requests are joined along axis 0.
        max_batch_size: largest batch, in rows.
    """

    revision: str
    state: ReplicaState
    memory: int = 0
    batched: bool = False
    max_batch_size: int = 1


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker says of itself when it connects.

    Attributes:
        incarnation: random id of the process; its consumer name in the streams.
        name: stable, for people.
        memory: bytes that models may take together; 0 = it does not say.
        providers: execution providers, best first.
        runtimes: names of the runtimes that it can load.
    """

    incarnation: str
    name: str
    version: str = ""
    memory: int = 0
    cores: int = 0
    providers: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Worker:
    """A connected worker as this scheduler sees it; a snapshot, never changed."""

    facts: WorkerFacts
    connect_time: datetime
    replicas: Mapping[str, Replica] = field(default_factory=dict)
    used_memory: int = 0
    draining: bool = False

    @property
    def incarnation(self) -> str:
        """Short for the id that everybody asks for."""
        return self.facts.incarnation

    def has(self, revision: str, *states: ReplicaState) -> bool:
        """Whether it holds a replica of the revision in one of the states (in any, when none is named)."""
        replica = self.replicas.get(revision)
        return replica is not None and (not states or replica.state in states)


@dataclass(frozen=True, slots=True)
class Report:
    """A replica's change, told by its worker. `replica` is None when it is gone, `error` set when it failed."""

    revision: str
    replica: Replica | None
    error: LoadError | None = None


class Fleet:
    """The connected workers, by incarnation. Every change is told to `changes`."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._workers: dict[str, Worker] = {}
        self._draining: set[str] = set()

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Everybody who is connected, in the order of connection."""
        return tuple(self._workers.values())

    def get(self, incarnation: str) -> Worker | None:
        """The worker, if it is connected."""
        return self._workers.get(incarnation)

    def connect(self, facts: WorkerFacts, replicas: Iterable[Replica]) -> None:
        """A worker said Hello; what it has loaded already counts at once. A drain survives its reconnection."""
        self._workers[facts.incarnation] = Worker(
            facts,
            connect_time=datetime.now(UTC),
            replicas={replica.revision: replica for replica in replicas},
            draining=facts.incarnation in self._draining,
        )
        self._changes.bump()

    def disconnect(self, incarnation: str) -> Worker | None:
        """A Session ended: the worker's replicas count no more. Returns what was known of it."""
        worker = self._workers.pop(incarnation, None)
        self._changes.bump()
        return worker

    def heard(self, incarnation: str, used_memory: int) -> None:
        """A heartbeat's figures: nothing that anybody waits for."""
        worker = self._workers.get(incarnation)
        if worker is not None:
            self._workers[incarnation] = replace(worker, used_memory=used_memory)

    def report(self, incarnation: str, report: Report) -> None:
        """A replica changed."""
        worker = self._workers.get(incarnation)
        if worker is None:
            return
        replicas = dict(worker.replicas)
        replicas.pop(report.revision, None)
        if report.replica is not None:
            replicas[report.revision] = report.replica
        self._workers[incarnation] = replace(worker, replicas=replicas)
        self._changes.bump()

    def drain(self, incarnation: str) -> None:
        """The worker gets nothing new, and what it has moves elsewhere."""
        self._draining.add(incarnation)
        self._workers[incarnation] = replace(self._workers[incarnation], draining=True)
        self._changes.bump()

    def leave(self, incarnation: str) -> None:
        """The worker reads nothing any more and is about to go: what it holds serves nobody."""
        worker = self._workers.get(incarnation)
        if worker is None:
            return
        self._draining.add(incarnation)
        going = {
            revision: replace(replica, state=ReplicaState.UNLOADING) for revision, replica in worker.replicas.items()
        }
        self._workers[incarnation] = replace(worker, replicas=going, draining=True)
        self._changes.bump()


def holders(workers: Iterable[Worker], revision: str, *states: ReplicaState) -> list[Worker]:
    """The workers that hold a replica of the revision in one of the states (in any, when none is named)."""
    return [worker for worker in workers if worker.has(revision, *states)]


def ready_replicas(workers: Iterable[Worker], revision: str) -> int:
    """How many warm replicas of the revision there are."""
    return len(holders(workers, revision, ReplicaState.READY))
