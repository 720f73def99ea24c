"""From what is wanted and what is observed to what must be done. Pure: no clock, no network, no database.

The rules, in the order in which they matter to somebody who calls a model:

- What serves stays until its successor is warm on all the workers that it was placed on (then it is *promoted*), so a
  change drops no call, and a change that fails takes nothing away.
- What is wanted no more *drains*: no new calls, then Unload when its last call is answered, or after 60 seconds.
- A replica that is lost is placed elsewhere at once. One too many (a worker came back) goes away again, warm ones last.
- A revision whose load failed is tried again with back-off where that may help, and never where it may not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnpm_scheduler.control.deployments import Deployment, Failure, Revision
from nnpm_scheduler.control.failures import Attempts
from nnpm_scheduler.control.fleet import ReplicaState, Worker, holders
from nnpm_scheduler.control.placement import Assignment, Need, place

DRAIN_LIMIT = 60.0
"""Seconds that a revision may take to answer the calls that it has."""

DRAIN_SETTLE = 0.1
"""Seconds between closing a revision to new calls and believing that it has none: a call that was being admitted is
counted by then."""


@dataclass(frozen=True, slots=True)
class Unload:
    """A replica that must go."""

    worker: str
    revision: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """The deployment's newest revision takes new calls from now on."""

    deployment: Deployment
    revision: Revision


@dataclass(frozen=True, slots=True)
class Rejection:
    """The deployment's newest revision cannot be loaded, and is given up."""

    deployment: Deployment
    failure: Failure


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        departures: incarnations of draining workers that have nothing loaded any more.
        draining: revision id -> when it was closed to new calls; to be handed in again the next time.
        answering: the draining revisions that may still answer the calls that they have.
        shortages: revision id -> why it has fewer replicas than it wants.
    """

    loads: tuple[Assignment, ...]
    unloads: tuple[Unload, ...]
    promotions: tuple[Promotion, ...]
    rejections: tuple[Rejection, ...]
    departures: tuple[str, ...]
    draining: Mapping[str, float]
    answering: frozenset[str]
    shortages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is, as far as this scheduler sees.

    Attributes:
        failures: failed attempts to load, by revision id.
        draining: as the previous plan left it.
        outstanding: calls in flight on a revision.
        now: monotonic, seconds.
    """

    workers: Sequence[Worker]
    failures: Mapping[str, Attempts]
    draining: Mapping[str, float]
    outstanding: Callable[[str], int]
    now: float


def reconcile(deployments: Iterable[Deployment], observed: Observed) -> Plan:
    """What brings `observed` closer to what `deployments` want."""
    desired = list(deployments)
    wanted = {revision.id: revision for deployment in desired for revision in deployment.wanted()}
    memory = _memory(wanted, observed.workers)
    needs = [
        need
        for pick in (_serving, _successor)
        for deployment in desired
        if (revision := pick(deployment))
        and (need := _need(revision, observed, memory[revision.id], proven=pick is _serving))
    ]
    placement = place(needs, observed.workers, memory)
    draining = _draining(wanted, observed)
    return Plan(
        loads=placement.assignments,
        unloads=(*_drained(draining, observed), *_surplus(wanted.values(), observed.workers, placement.shortages)),
        promotions=tuple(
            Promotion(deployment, deployment.newest)
            for deployment in desired
            if _is_promoted(deployment, observed, {assignment.revision for assignment in placement.assignments})
        ),
        rejections=tuple(_rejections(desired, observed)),
        departures=tuple(w.incarnation for w in observed.workers if w.draining and not w.replicas),
        draining=draining,
        answering=frozenset(id_ for id_, since in draining.items() if observed.now - since < DRAIN_LIMIT),
        shortages=placement.shortages,
    )


def _serving(deployment: Deployment) -> Revision | None:
    """The revision that has calls to answer: its lost replicas are replaced before anything new is loaded."""
    serving = deployment.serving
    return next((revision for revision in deployment.wanted() if serving and revision.id == serving.id), None)


def _successor(deployment: Deployment) -> Revision | None:
    """The newest revision, where it is not the one that serves."""
    serving = deployment.serving
    return next((revision for revision in deployment.wanted() if not serving or revision.id != serving.id), None)


def _memory(wanted: Mapping[str, Revision], workers: Sequence[Worker]) -> dict[str, int]:
    """Bytes that a replica takes: as measured, else the size of the files."""
    return {
        revision.id: max((worker.replicas[revision.id].memory for worker in holders(workers, revision.id)), default=0)
        or revision.published.size
        for revision in wanted.values()
    }


def _need(revision: Revision, observed: Observed, memory: int, *, proven: bool) -> Need | None:
    """What the revision still needs now. `proven`: it has been loaded before, so no failure to load it is final."""
    attempts = observed.failures.get(revision.id)
    if attempts is not None and (observed.now < attempts.retry_at or (attempts.final and not proven)):
        return None
    staying = [
        worker
        for worker in holders(observed.workers, revision.id, ReplicaState.LOADING, ReplicaState.READY)
        if not worker.draining
    ]
    missing = revision.spec.replicas - len(staying)
    if missing <= 0:
        return None
    avoid = attempts.workers if attempts is not None else frozenset()
    return Need(revision.id, missing, memory, revision.published.runtime, avoid)


def _draining(wanted: Mapping[str, Revision], observed: Observed) -> dict[str, float]:
    """The revisions that are wanted no more and still loaded or called, and since when."""
    loaded = {revision for worker in observed.workers for revision in worker.replicas}
    called = {revision for revision in observed.draining if observed.outstanding(revision)}
    return {
        revision: observed.draining.get(revision, observed.now)
        for revision in sorted(loaded | called)
        if revision not in wanted and (revision in loaded or observed.now - observed.draining[revision] < DRAIN_LIMIT)
    }


def _drained(draining: Mapping[str, float], observed: Observed) -> list[Unload]:
    """Replicas that nobody needs any more."""
    return [
        Unload(worker.incarnation, revision)
        for revision, since in draining.items()
        if _is_drained(revision, observed.now - since, observed)
        for worker in holders(observed.workers, revision, ReplicaState.LOADING, ReplicaState.READY)
    ]


def _is_drained(revision: str, seconds: float, observed: Observed) -> bool:
    if seconds >= DRAIN_LIMIT:
        return True
    return seconds >= DRAIN_SETTLE and not observed.outstanding(revision)


def _surplus(revisions: Iterable[Revision], workers: Sequence[Worker], shortages: Mapping[str, str]) -> list[Unload]:
    """Replicas beyond what is wanted, and those on draining workers once others stand in for them."""
    unloads: list[Unload] = []
    for revision in revisions:
        held = holders(workers, revision.id, ReplicaState.LOADING, ReplicaState.READY)
        staying = [worker for worker in held if not worker.draining]
        leaving = [worker for worker in held if worker.draining]
        warm = sum(worker.has(revision.id, ReplicaState.READY) for worker in staying)
        if warm >= revision.spec.replicas or revision.id in shortages:
            unloads += [Unload(worker.incarnation, revision.id) for worker in leaving]
        by_worth = sorted(staying, key=lambda worker: _worth(worker, revision.id))
        unloads += [Unload(worker.incarnation, revision.id) for worker in by_worth[revision.spec.replicas :]]
    return unloads


def _worth(worker: Worker, revision: str) -> tuple[bool, int, str]:
    """Warm before loading, then the worker that has the least else to do."""
    return not worker.has(revision, ReplicaState.READY), len(worker.replicas), worker.facts.name


def _rejections(deployments: Iterable[Deployment], observed: Observed) -> Iterator[Rejection]:
    """The successors whose failure is final. One that is loaded somewhere goes on with what it has."""
    for deployment in deployments:
        revision = _successor(deployment)
        attempts = observed.failures.get(revision.id) if revision else None
        if revision and attempts and attempts.final and not holders(observed.workers, revision.id):
            yield Rejection(deployment, Failure(attempts.last.reason, attempts.last.message))


def _is_promoted(deployment: Deployment, observed: Observed, being_placed: set[str]) -> bool:
    """Whether the newest revision takes over now."""
    newest, serving = deployment.newest, deployment.serving
    if deployment.paused or (serving is not None and serving.number == newest.number):
        return False
    warm = holders(observed.workers, newest.id, ReplicaState.READY)
    if not warm:
        return False
    if serving is None or not holders(observed.workers, serving.id, ReplicaState.READY):
        return True
    loading = holders(observed.workers, newest.id, ReplicaState.LOADING)
    return not loading and newest.id not in being_placed
