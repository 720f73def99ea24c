"""Between the messages of `nnpm.api.worker.v1` and what the control path knows."""

from collections.abc import Iterable

from nnpm.api.worker.v1 import worker_pb2
from nnpm.package.names import PackageName
from nnpm.rpc.status import from_status
from nnpm.tensors.signature import TensorSpec
from nnpm_scheduler.control.deployments import Revision
from nnpm_scheduler.control.failures import LoadError
from nnpm_scheduler.control.fleet import Replica, ReplicaState, Report, WorkerFacts
from nnpm_scheduler.control.sessions import (
    BeginVerdict,
    CancelCommand,
    Command,
    DrainCommand,
    LoadCommand,
    UnloadCommand,
)

_STATES = {
    worker_pb2.MODEL_STATE_FETCHING: ReplicaState.LOADING,
    worker_pb2.MODEL_STATE_LOADING: ReplicaState.LOADING,
    worker_pb2.MODEL_STATE_READY: ReplicaState.READY,
    worker_pb2.MODEL_STATE_UNLOADING: ReplicaState.UNLOADING,
}

_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "UNKNOWN"})
"""Status names after which another attempt may succeed."""


def facts_of(hello: worker_pb2.Hello) -> WorkerFacts:
    """Who says Hello."""
    return WorkerFacts(
        incarnation=hello.incarnation,
        name=hello.name or hello.incarnation,
        version=hello.version,
        memory=hello.memory_bytes,
        cores=hello.cores,
        providers=tuple(hello.providers),
        runtimes=tuple(hello.runtimes),
        labels=dict(hello.labels),
    )


def replicas_of(models: Iterable[worker_pb2.ModelStatus]) -> list[Replica]:
    """What a worker has loaded, or is loading; what failed or is gone is left out."""
    return [replica for model in models if (replica := report_of(model).replica) is not None]


def report_of(model: worker_pb2.ModelStatus) -> Report:
    """What a worker tells of one replica."""
    if model.state == worker_pb2.MODEL_STATE_FAILED:
        error = from_status(model.error)
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        return Report(model.revision, None, LoadError(error.reason, message, transient=error.code in _TRANSIENT))
    state = _STATES.get(model.state)
    if state is None:
        return Report(model.revision, None)
    return Report(
        model.revision,
        Replica(model.revision, state, model.memory_bytes, model.batched, model.max_batch_size),
    )


def message_of(command: Command) -> worker_pb2.SessionResponse:
    """What a command looks like on the stream."""
    match command:
        case LoadCommand(token, revision):
            return worker_pb2.SessionResponse(load=_load(token, revision))
        case UnloadCommand(token, revision_id):
            return worker_pb2.SessionResponse(unload=worker_pb2.Unload(fencing_token=token, revision=revision_id))
        case CancelCommand(numbers):
            return worker_pb2.SessionResponse(cancel=worker_pb2.Cancel(numbers=numbers))
        case BeginVerdict(number, True):
            return worker_pb2.SessionResponse(go=worker_pb2.Go(number=number))
        case BeginVerdict(number, _):
            return worker_pb2.SessionResponse(not_wanted=worker_pb2.NotWanted(number=number))
        case DrainCommand():
            return worker_pb2.SessionResponse(drain=worker_pb2.Drain())


def _load(token: int, revision: Revision) -> worker_pb2.Load:
    published = revision.published
    return worker_pb2.Load(
        fencing_token=token,
        revision=revision.id,
        namespace=PackageName.parse(published.package).namespace,
        package=published.package,
        version=published.version,
        manifest=published.manifest,
        manifest_digest=published.digest,
        inputs=map(_tensor, published.signature.inputs),
        outputs=map(_tensor, published.signature.outputs),
        batching=worker_pb2.Batching(
            max_batch_size=revision.spec.batching.max_batch_size,
            max_queue_delay_us=revision.spec.batching.max_queue_delay,
            preferred_batch_sizes=revision.spec.batching.preferred,
        ),
    )


def _tensor(spec: TensorSpec) -> worker_pb2.TensorSpec:
    return worker_pb2.TensorSpec(
        name=spec.name, datatype=spec.datatype, shape=spec.shape, optional=spec.optional, unranked=spec.unranked
    )
