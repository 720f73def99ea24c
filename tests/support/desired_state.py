"""Deployments, revisions and workers as the scheduler's control path knows them, in one line each."""

from dataclasses import replace
from datetime import UTC, datetime

from nnpm.errors import NotFound
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.control.deployments import Deployment, Failure, PublishedVersion, Revision, Spec
from nnpm_scheduler.control.fleet import Replica, ReplicaState, Worker, WorkerFacts

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MIB = 2**20

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 4)), TensorSpec("mask", "BOOL", (), optional=True)),
    outputs=(TensorSpec("y", "FP32", (), unranked=True),),
)


def published(version: str = "1.0.0", *, package: str = "acme/tiny", size: int = MIB) -> PublishedVersion:
    return PublishedVersion(
        package=package,
        version=version,
        digest="sha256:" + version.replace(".", "").rjust(64, "0"),
        manifest=f'{{"version":"{version}"}}'.encode(),
        signature=SIGNATURE,
        size=size,
        runtime="onnx",
    )


def revision(
    number: int = 1,
    *,
    id: str = "",  # noqa: A002 - the field's name
    version: str = "",
    replicas: int = 1,
    size: int = MIB,
    failure: Failure | None = None,
    package: str = "acme/tiny",
) -> Revision:
    """Its id is `r1`, its version 1.0.0, for number 1."""
    return Revision(
        number=number,
        id=id or f"r{number}",
        spec=Spec(package, "latest", replicas),
        published=published(version or f"{number}.0.0", size=size, package=package),
        create_time=NOW,
        failure=failure,
    )


def deployment(
    newest: Revision, serving: Revision | None = None, *, name: str = "acme-tiny", paused: bool = False
) -> Deployment:
    return Deployment(
        name=name,
        uid=f"uid-{name}",
        generation=newest.number,
        paused=paused,
        newest=newest,
        serving=serving,
        create_time=NOW,
        update_time=NOW,
    )


def worker(name: str = "worker-0", *, memory: int = 0, draining: bool = False, **replicas: str) -> Worker:
    """`worker("w", r1="ready", r2="loading")`; its incarnation is its name."""
    held = {id_: Replica(id_, ReplicaState(state)) for id_, state in replicas.items()}
    facts = WorkerFacts(incarnation=name, name=name, memory=memory, runtimes=("onnx",))
    return Worker(facts, NOW, held, draining=draining)


def measured(worker: Worker, revision: str, memory: int) -> Worker:
    """The worker with a replica's memory measured."""
    return replace(worker, replicas={**worker.replicas, revision: replace(worker.replicas[revision], memory=memory)})


class KnownVersions:
    """A registry of one table: (package, selector) -> version. `asked` lists the selectors that were asked for."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], PublishedVersion] = {}
        self.asked: list[str] = []

    async def resolve(self, spec: Spec) -> PublishedVersion:
        self.asked.append(spec.selector)
        version = self.versions.get((spec.package, spec.selector))
        if version is None:
            raise NotFound("VERSION_NOT_FOUND", f"no version of {spec.package} is {spec.selector}")
        return version
