"""Between the messages of `nnpm.api.scheduler.v1` and the domain."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from nnpm.api.scheduler.v1 import deployment_pb2
from nnpm.errors import FieldViolation, InvalidArgument
from nnpm.rpc.requests import masked_fields
from nnpm_scheduler.control.deployments import Batching, Deployment, Revision, Spec
from nnpm_scheduler.control.fleet import ReplicaState, Worker
from nnpm_scheduler.control.status import (
    DeploymentState,
    RevisionState,
    View,
    deployment_status,
    revision_status,
)
from nnpm_scheduler.dispatch.quotas import Quota

Part = TypeVar("Part", Batching, Quota)

_DEPLOYMENT_STATES = {
    DeploymentState.PROGRESSING: deployment_pb2.DEPLOYMENT_STATE_PROGRESSING,
    DeploymentState.READY: deployment_pb2.DEPLOYMENT_STATE_READY,
    DeploymentState.FAILED: deployment_pb2.DEPLOYMENT_STATE_FAILED,
    DeploymentState.PAUSED: deployment_pb2.DEPLOYMENT_STATE_PAUSED,
}

_REVISION_STATES = {
    RevisionState.PENDING: deployment_pb2.REVISION_STATE_PENDING,
    RevisionState.READY: deployment_pb2.REVISION_STATE_READY,
    RevisionState.DRAINING: deployment_pb2.REVISION_STATE_DRAINING,
    RevisionState.RETIRED: deployment_pb2.REVISION_STATE_RETIRED,
    RevisionState.FAILED: deployment_pb2.REVISION_STATE_FAILED,
}

_REPLICA_STATES = {
    ReplicaState.LOADING: deployment_pb2.REPLICA_STATE_LOADING,
    ReplicaState.READY: deployment_pb2.REPLICA_STATE_READY,
    ReplicaState.UNLOADING: deployment_pb2.REPLICA_STATE_UNLOADING,
}

_SOURCE = frozenset({"spec", "spec.package", "spec.package.package", "spec.package.selector"})
_REPLICAS = frozenset({"spec", "spec.replicas"})
_BATCHING = {
    "max_batch_size": "spec.batching.max_batch_size",
    "max_queue_delay": "spec.batching.max_queue_delay",
    "preferred": "spec.batching.preferred_batch_sizes",
}
"""The path of each field of `Batching`."""

_ALL_BATCHING = frozenset({"spec", "spec.batching"})
_QUOTA = {"rate": "spec.quota.requests_per_second", "in_flight": "spec.quota.in_flight"}
_ALL_QUOTA = frozenset({"spec", "spec.quota"})
_ROLLOUT = frozenset({"spec", "spec.rolling"})
_PATHS = (
    _SOURCE
    | _REPLICAS
    | _ALL_BATCHING
    | frozenset(_BATCHING.values())
    | _ALL_QUOTA
    | frozenset(_QUOTA.values())
    | _ROLLOUT
)


def spec_of(message: deployment_pb2.DeploymentSpec) -> Spec:
    """The spec of a request, not checked yet."""
    if not message.HasField("package"):
        raise InvalidArgument(
            "INVALID_DEPLOYMENT",
            "the spec names no package",
            violations=[FieldViolation("deployment.spec.package", "is required")],
        )
    return Spec(
        package=message.package.package,
        selector=message.package.selector,
        replicas=message.replicas,
        batching=_batching_of(message.batching),
        quota=_quota_of(message.quota),
    )


def change_of(message: deployment_pb2.DeploymentSpec, paths: Collection[str]) -> tuple[Callable[[Spec], Spec], bool]:
    """What an update does to a spec, and whether the registry is to be asked for the version again.

    Args:
        paths: the field mask; empty = the whole spec.

    Raises:
        InvalidArgument: INVALID_FIELD_MASK, INVALID_DEPLOYMENT.
    """
    mask = masked_fields(paths, _PATHS)
    if mask & {"spec", "spec.package"}:
        spec_of(message)  # refuses a spec without a source

    def change(spec: Spec) -> Spec:
        package, selector = message.package.package, message.package.selector
        if mask & (_SOURCE - {"spec.package.selector"}):
            spec = replace(spec, package=package)
        if mask & (_SOURCE - {"spec.package.package"}):
            spec = replace(spec, selector=selector)
        if mask & _REPLICAS:
            spec = replace(spec, replicas=message.replicas)
        return replace(
            spec,
            batching=_changed(spec.batching, _batching_of(message.batching), mask, _ALL_BATCHING, _BATCHING),
            quota=_changed(spec.quota, _quota_of(message.quota), mask, _ALL_QUOTA, _QUOTA),
        )

    return change, bool(mask & _SOURCE)


def deployment_message(deployment: Deployment, view: View) -> deployment_pb2.Deployment:
    """A deployment with its status as of `view`."""
    status = deployment_status(deployment, view)
    return deployment_pb2.Deployment(
        name=deployment.name,
        spec=_spec_message(deployment.spec),
        status=deployment_pb2.DeploymentStatus(
            state=_DEPLOYMENT_STATES[status.state],
            revision=status.revision,
            serving_revision=status.serving_revision,
            serving_version=status.serving_version,
            ready_replicas=status.ready_replicas,
            message=status.message,
            reason=status.reason,
            paused=status.paused,
        ),
        create_time=_time(deployment.create_time),
        update_time=_time(deployment.update_time),
        etag=deployment.etag,
    )


def revision_message(deployment: Deployment, revision: Revision, view: View) -> deployment_pb2.Revision:
    """A revision with its state as of `view`."""
    status = revision_status(deployment, revision, view)
    return deployment_pb2.Revision(
        deployment=deployment.name,
        number=revision.number,
        id=revision.id,
        spec=_spec_message(revision.spec),
        version=revision.published.version,
        digest=revision.published.digest,
        state=_REVISION_STATES[status.state],
        ready_replicas=status.ready_replicas,
        message=status.message,
        create_time=_time(revision.create_time),
    )


def worker_message(worker: Worker, deployments: Sequence[Deployment]) -> deployment_pb2.Worker:
    """A worker; its replicas by the deployments' names, or by nothing while what was deleted drains."""
    owners = {
        revision.id: (deployment.name, revision.number)
        for deployment in deployments
        for revision in (deployment.serving, deployment.newest)
        if revision is not None
    }
    facts = worker.facts
    replicas = [
        deployment_pb2.Replica(
            deployment=name,
            revision=number,
            state=_REPLICA_STATES[replica.state],
            memory_bytes=replica.memory,
            batched=replica.batched,
        )
        for replica in worker.replicas.values()
        for name, number in (owners.get(replica.revision, ("", 0)),)
    ]
    return deployment_pb2.Worker(
        id=facts.incarnation,
        name=facts.name,
        version=facts.version,
        memory_bytes=facts.memory,
        used_memory_bytes=worker.used_memory or sum(replica.memory for replica in worker.replicas.values()),
        cores=facts.cores,
        providers=facts.providers,
        runtimes=facts.runtimes,
        labels=facts.labels,
        replicas=replicas,
        draining=worker.draining,
        connect_time=_time(worker.connect_time),
    )


def _spec_message(spec: Spec) -> deployment_pb2.DeploymentSpec:
    return deployment_pb2.DeploymentSpec(
        package=deployment_pb2.PackageSource(package=spec.package, selector=spec.selector),
        replicas=spec.replicas,
        batching=_batching_message(spec.batching),
        quota=deployment_pb2.QuotaSpec(requests_per_second=spec.quota.rate, in_flight=spec.quota.in_flight)
        if spec.quota
        else None,
        rolling=deployment_pb2.RollingRollout(),
    )


def _batching_of(message: deployment_pb2.BatchingSpec) -> Batching:
    delay = message.max_queue_delay.ToMicroseconds() if message.HasField("max_queue_delay") else None
    return Batching(message.max_batch_size, delay, tuple(message.preferred_batch_sizes))


def _quota_of(message: deployment_pb2.QuotaSpec) -> Quota:
    return Quota(message.requests_per_second, message.in_flight)


def _changed(old: Part, new: Part, mask: Collection[str], whole: Collection[str], paths: Mapping[str, str]) -> Part:
    """`old` with those fields of `new` that the mask names."""
    everything = any(path in mask for path in whole)
    return replace(old, **{name: getattr(new, name) for name, path in paths.items() if everything or path in mask})


def _batching_message(batching: Batching) -> deployment_pb2.BatchingSpec:
    message = deployment_pb2.BatchingSpec(
        max_batch_size=batching.max_batch_size, preferred_batch_sizes=batching.preferred
    )
    if batching.max_queue_delay is not None:
        message.max_queue_delay.FromMicroseconds(batching.max_queue_delay)
    return message


def _time(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
