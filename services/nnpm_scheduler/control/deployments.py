"""What a deployment is: desired state that a user changes, each change a numbered, immutable revision."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from nnpm.errors import InvalidArgument
from nnpm.package.names import PackageName
from nnpm.package.references import Selector
from nnpm.tensors.signature import Signature
from nnpm_scheduler.dispatch.quotas import ANY, Quota

MOST_REPLICAS = 1_000
MOST_ROWS = 65_536
MOST_DELAY = 60_000_000  # microseconds
MOST_PREFERRED = 16
MOST_RATE = MOST_IN_FLIGHT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests are joined, where the worker has proven that joining is right.

    Attributes:
        max_batch_size: rows that may be joined; 0 = the worker's default, 1 = never join.
        max_queue_delay: microseconds that a request may wait for company; None = as long as it pays.
        preferred: sizes, in rows, at which a batch does not wait, and to which larger ones are cut; none = any.
    """

    max_batch_size: int = 0
    max_queue_delay: int | None = None
    preferred: tuple[int, ...] = ()

    def checked(self) -> "Batching":
        """In normal form. Raises InvalidArgument INVALID_DEPLOYMENT."""
        most = self.max_batch_size or MOST_ROWS
        if not 0 <= self.max_batch_size <= MOST_ROWS:
            raise InvalidArgument(
                "INVALID_DEPLOYMENT", f"a batch of {self.max_batch_size} rows is not between 1 and {MOST_ROWS:,}"
            )
        if self.max_queue_delay is not None and not 0 <= self.max_queue_delay <= MOST_DELAY:
            raise InvalidArgument(
                "INVALID_DEPLOYMENT", f"a queue delay of {self.max_queue_delay / 1e6:g} s is not between 0 and 60 s"
            )
        if len(self.preferred) > MOST_PREFERRED:
            raise InvalidArgument("INVALID_DEPLOYMENT", f"more than {MOST_PREFERRED} preferred batch sizes are given")
        if wrong := [size for size in self.preferred if not 1 <= size <= most]:
            raise InvalidArgument(
                "INVALID_DEPLOYMENT", f"a preferred batch of {wrong[0]} rows is not between 1 and {most:,}"
            )
        return replace(self, preferred=tuple(sorted(set(self.preferred))))


@dataclass(frozen=True, slots=True)
class Spec:
    """What a user wants served.

    Attributes:
        package: `namespace/name`.
        selector: a range, tag or exact version.
        replicas: loaded copies, 1 to 1,000, each on a worker of its own.
        batching: how its requests are joined.
        quota: what all callers together may ask of it.
    """

    package: str
    selector: str
    replicas: int = 1
    batching: Batching = field(default_factory=Batching)
    quota: Quota = ANY

    def checked(self) -> "Spec":
        """The spec in normal form.

        Raises InvalidArgument: INVALID_PACKAGE_NAME, INVALID_SELECTOR, INVALID_DEPLOYMENT.
        """
        package = str(PackageName.parse(self.package))
        selector = str(Selector.parse(self.selector))
        if not 0 <= self.replicas <= MOST_REPLICAS:
            raise InvalidArgument(
                "INVALID_DEPLOYMENT", f"{self.replicas} replicas are not between 1 and {MOST_REPLICAS:,}"
            )
        if not 0 <= self.quota.rate <= MOST_RATE or not 0 <= self.quota.in_flight <= MOST_IN_FLIGHT:
            raise InvalidArgument(
                "INVALID_DEPLOYMENT", f"a quota is of 0 to {MOST_RATE:,} requests a second, and as many at a time"
            )
        batching = self.batching.checked()
        return replace(self, package=package, selector=selector, replicas=self.replicas or 1, batching=batching)


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One exact version of a package as the registry published it; immutable, so that it can be kept here.

    Attributes:
        digest: `sha256:<hex>` of `manifest`.
        manifest: canonical JSON.
        size: bytes of all files together.
        runtime: the name of the runtime that loads it, such as `onnx`.
    """

    package: str
    version: str
    digest: str
    manifest: bytes
    signature: Signature
    size: int
    runtime: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a revision cannot be loaded, for a program and for a person."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A deployment's numbered state.

    Attributes:
        number: 1, 2, 3, ...
        id: names what workers load and the stream of its requests. Unique for ever, except that a revision that
            differs from a loaded one in nothing that a worker sees (the replicas) goes on with that one's.
        failure: set when it can't be loaded and trying again makes no sense.
    """

    number: int
    id: str
    spec: Spec
    published: PublishedVersion
    create_time: datetime
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Desired state of one served model.

    Attributes:
        name: the slug.
        uid: random; tells a deployment from a later one of the same name.
        generation: counts the changes that a user made.
        paused: nothing is loaded until resumed.
        newest: the current revision.
        serving: the revision that new calls go to, once it was ready for the first time.
    """

    name: str
    uid: str
    generation: int
    paused: bool
    newest: Revision
    serving: Revision | None
    create_time: datetime
    update_time: datetime

    @property
    def spec(self) -> Spec:
        """What is wanted now."""
        return self.newest.spec

    @property
    def etag(self) -> str:
        """Changes with every change that a user makes."""
        return f"{self.uid[:8]}-{self.generation}"

    def wanted(self) -> tuple[Revision, ...]:
        """The revisions that ought to be loaded, most wanted first.

        The newest one, and the one that serves until the newest is ready: a change never takes away what works.
        """
        if self.paused:
            return ()
        newest = () if self.newest.failure else (self.newest,)
        if self.serving is None or any(revision.id == self.serving.id for revision in newest):
            return newest
        return (*newest, self.serving)
