"""What a user is told about a deployment: derived, at every look, from desired and observed state."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnpm_scheduler.control.deployments import Deployment, Failure, Revision
from nnpm_scheduler.control.failures import Attempts
from nnpm_scheduler.control.fleet import ReplicaState, Worker, holders, ready_replicas


class DeploymentState(enum.Enum):
    """In how far what is wanted is so."""

    PROGRESSING = "progressing"
    READY = "ready"
    FAILED = "failed"
    PAUSED = "paused"


class RevisionState(enum.Enum):
    """Where a revision stands."""

    PENDING = "pending"
    READY = "ready"
    DRAINING = "draining"
    RETIRED = "retired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """What is observed of a deployment. `serving_revision` 0: no revision takes calls."""

    state: DeploymentState
    revision: int
    serving_revision: int = 0
    serving_version: str = ""
    ready_replicas: int = 0
    message: str = ""
    reason: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """What is observed of a revision."""

    state: RevisionState
    ready_replicas: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What the statuses are derived from, beside the deployment itself."""

    workers: Sequence[Worker]
    failures: Mapping[str, Attempts]
    shortages: Mapping[str, str]


def deployment_status(deployment: Deployment, view: View) -> DeploymentStatus:
    """How `deployment` stands."""
    newest, serving = deployment.newest, deployment.serving
    ready = ready_replicas(view.workers, newest.id)
    if deployment.paused:
        return DeploymentStatus(
            DeploymentState.PAUSED, newest.number, ready_replicas=ready, message="paused by a user", paused=True
        )
    serves = serving is not None and ready_replicas(view.workers, serving.id) > 0
    is_current = serving is not None and serving.id == newest.id
    failure = _failure(newest, view, proven=is_current)
    if is_current and serves:
        state = DeploymentState.READY
        message, reason = _incomplete(newest, ready, view), ""
    elif failure is not None:
        state, message, reason = DeploymentState.FAILED, failure.message, failure.reason
    else:
        state, message, reason = DeploymentState.PROGRESSING, _pending(newest, view), ""
    return DeploymentStatus(
        state,
        newest.number,
        serving_revision=(newest.number if is_current else serving.number) if serves and serving else 0,
        serving_version=serving.published.version if serves and serving else "",
        ready_replicas=ready,
        message=message,
        reason=reason,
    )


def revision_status(deployment: Deployment, revision: Revision, view: View) -> RevisionStatus:
    """How one of the deployment's revisions stands."""
    wanted = {wanted.id: wanted.number for wanted in deployment.wanted()}
    if revision.id in wanted:
        # Revisions that share an id share replicas: they are the newest one's.
        is_current = wanted[revision.id] == revision.number
        return _wanted_status(deployment, revision, view) if is_current else RevisionStatus(RevisionState.RETIRED)
    if revision.failure is not None:
        return RevisionStatus(RevisionState.FAILED, message=revision.failure.message)
    ready = ready_replicas(view.workers, revision.id)
    loaded = holders(view.workers, revision.id)
    return RevisionStatus(RevisionState.DRAINING if loaded else RevisionState.RETIRED, ready)


def _wanted_status(deployment: Deployment, revision: Revision, view: View) -> RevisionStatus:
    ready = ready_replicas(view.workers, revision.id)
    serving = deployment.serving
    proven = serving is not None and revision.id == serving.id
    if proven and ready:
        return RevisionStatus(RevisionState.READY, ready)
    failure = _failure(revision, view, proven=proven)
    if failure is not None:
        return RevisionStatus(RevisionState.FAILED, ready, failure.message)
    return RevisionStatus(RevisionState.PENDING, ready, _pending(revision, view))


def _failure(revision: Revision, view: View, *, proven: bool) -> Failure | None:
    """Why the revision failed, if it has; a final failure of what never served counts once it is stored."""
    if revision.failure is not None:
        return revision.failure
    attempts = view.failures.get(revision.id)
    if attempts is not None and attempts.hopeless and (proven or not attempts.final):
        return Failure(attempts.last.reason, attempts.last.message)
    return None


def _pending(revision: Revision, view: View) -> str:
    """What the revision waits for."""
    attempts = view.failures.get(revision.id)
    loading = holders(view.workers, revision.id, ReplicaState.LOADING)
    if loading:
        return f"loading on {', '.join(sorted(worker.facts.name for worker in loading))}"
    if attempts is not None:
        return f"will be tried again: {attempts.last.message}"
    shortage = view.shortages.get(revision.id)
    if shortage:
        return f"waits for a worker: {shortage}"
    if ready_replicas(view.workers, revision.id):
        return "warm, about to take calls"
    return "waits for a worker"


def _incomplete(revision: Revision, ready: int, view: View) -> str:
    """Why there are fewer warm replicas than wanted; empty when there are enough."""
    wanted = revision.spec.replicas
    if ready >= wanted:
        return ""
    return f"{ready} of {wanted} replicas are warm: {view.shortages.get(revision.id) or _pending(revision, view)}"
