"""From desired and observed state to the table that the front door routes by."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from nnpm_scheduler.control.deployments import Deployment, Revision
from nnpm_scheduler.control.fleet import ReplicaState, Worker, holders
from nnpm_scheduler.dispatch.quotas import ANY
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute, RouteTable

NOBODYS = ""
"""Names the deployment that holds what drains after its own was deleted: no client can ask for it."""

MOST_JOINED = 64
"""Rows that a worker joins when the spec does not say."""


def route_table(
    deployments: Iterable[Deployment], workers: Sequence[Worker], answering: Collection[str], before: RouteTable
) -> RouteTable:
    """The table for this moment.

    A revision takes calls once it is promoted; one that was routed in `before` and is still answering stays, closed to
    new calls, so that those it has can be answered.
    """
    leftovers = _leftovers(answering, before)
    routes = [
        DeploymentRoute(
            name=deployment.name,
            # Not the newest one's: who asks for a package must not be answered by another.
            package=(deployment.serving or deployment.newest).spec.package,
            revisions=(*leftovers.pop(deployment.name, ()), *_current(deployment, workers)),
            paused=deployment.paused,
        )
        for deployment in deployments
    ]
    orphans = tuple(route for revisions in leftovers.values() for route in revisions)
    if orphans:
        routes.append(DeploymentRoute(name=NOBODYS, package=NOBODYS, revisions=orphans))
    return RouteTable(tuple(routes))


def _current(deployment: Deployment, workers: Sequence[Worker]) -> list[RevisionRoute]:
    """The revisions that a call may get now or soon, by number."""
    serving = deployment.serving
    routes = []
    for revision in sorted(deployment.wanted(), key=lambda revision: revision.number):
        takes_calls = serving is not None and revision.id == serving.id
        routes.append(_route(deployment, revision, workers, takes_calls=takes_calls))
    return routes


def _route(
    deployment: Deployment, revision: Revision, workers: Sequence[Worker], *, takes_calls: bool
) -> RevisionRoute:
    warm = holders(workers, revision.id, ReplicaState.READY)
    replicas = [worker.replicas[revision.id] for worker in warm]
    joined = min((replica.max_batch_size or MOST_JOINED for replica in replicas if replica.batched), default=1)
    proven = bool(replicas) and all(replica.batched for replica in replicas)
    return RevisionRoute(
        id=revision.id,
        number=revision.number,
        version=revision.published.version,
        digest=revision.published.digest,
        signature=revision.published.signature,
        ready=len(warm) if takes_calls else 0,
        batch=joined if proven else 1,
        deployment=deployment.name,
        quota=deployment.newest.spec.quota or ANY,
    )


def _leftovers(answering: Collection[str], before: RouteTable) -> dict[str, tuple[RevisionRoute, ...]]:
    """The draining revisions of the table before, by the name of their deployment."""
    return {
        deployment.name: kept
        for deployment in before.deployments
        if (kept := tuple(replace(route, draining=True) for route in deployment.revisions if route.id in answering))
    }
