"""Where a call goes: from the name that a client asked for to one revision, in memory.

Control publishes an immutable table after every change; a call resolves against the table of its moment and keeps the
revision that it got.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from nnpm.errors import FailedPrecondition, NnpmError, NotFound, Unavailable
from nnpm.package.ranges import Range
from nnpm.package.versions import Version
from nnpm.tensors.signature import Signature
from nnpm_scheduler.dispatch.quotas import ANY, Quota

REPLICAS_RETURN = 10.0
"""Seconds after the loss of a revision's last warm replica during which calls are still taken in: they wait for the
next one. A revision that never was warm takes none."""

MOST_REMEMBERED = 4_096
"""Resolved names kept for a table: clients choose the names, so there may be any number of them."""


@dataclass(frozen=True, slots=True)
class RevisionRoute:
    """A revision that has, or may get, replicas.

    `id` is unique for ever and names the stream; `ready` counts warm replicas; `draining`: no new calls; `batch` is the
    most requests that one entry may carry, 1 unless joining is proven right; `runtime` is the package's; `quota` is the
    deployment's.
    """

    id: str
    number: int
    version: str
    digest: str
    signature: Signature
    ready: int
    draining: bool = False
    batch: int = 1
    runtime: str = "onnx"
    deployment: str = ""
    quota: Quota = ANY

    @property
    def serves(self) -> bool:
        """Whether new calls may go there now."""
        return self.ready > 0 and not self.draining


@dataclass(frozen=True, slots=True)
class DeploymentRoute:
    """A deployment's revisions, oldest first. `default`: it answers for its package when several serve it."""

    name: str
    package: str
    revisions: tuple[RevisionRoute, ...]
    paused: bool = False
    default: bool = False

    @property
    def serving(self) -> RevisionRoute | None:
        """The revision that takes new calls."""
        return next((revision for revision in reversed(self.revisions) if revision.serves), None)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All that is deployed, at one moment."""

    deployments: tuple[DeploymentRoute, ...] = ()


class Routes:
    """The current table, and the names that were resolved against it."""

    def __init__(self) -> None:
        self._table = RouteTable()
        self._resolved: dict[tuple[str, str], RevisionRoute] = {}
        self._by_id: dict[str, RevisionRoute] = {}
        self._left: dict[str, float] = {}
        self._warm_until: dict[str, float] = {}
        self._watchers: list[Callable[[], None]] = []

    @property
    def table(self) -> RouteTable:
        """What is served now."""
        return self._table

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` after each replacement."""
        self._watchers.append(changed)

    def replace(self, table: RouteTable) -> None:
        """Serves by `table` from now on; calls that are in flight keep their revisions."""
        self._table = table
        self._resolved = {}
        before = self._by_id
        self._by_id = {revision.id: revision for d in table.deployments for revision in d.revisions}
        now = time.monotonic()
        self._left |= dict.fromkeys(before.keys() - self._by_id.keys(), now)
        for revision_id in self._by_id.keys() & self._left.keys():
            del self._left[revision_id]
        self._warm_until = {
            revision.id: math.inf if revision.ready else min(self._warm_until[revision.id], now + REPLICAS_RETURN)
            for revision in self._by_id.values()
            if revision.ready or revision.id in self._warm_until
        }
        for changed in self._watchers:
            changed()

    def revision(self, revision_id: str) -> RevisionRoute | None:
        """A revision by its id; None when it is in the table no more."""
        return self._by_id.get(revision_id)

    def pop_retired(self, seconds: float) -> list[str]:
        """The revisions that left the table at least `seconds` ago; each is returned once."""
        until = time.monotonic() - seconds
        retired = [revision_id for revision_id, left in self._left.items() if left <= until]
        for revision_id in retired:
            del self._left[revision_id]
        return retired

    def resolve(self, model_name: str, model_version: str) -> RevisionRoute:
        """The revision that takes a new call; it may have lost its last replica a moment ago.

        Args:
            model_name: a deployment, a package, or `package@range`.
            model_version: an exact version, or empty.

        Raises:
            NotFound: MODEL_NOT_FOUND, or VERSION_NOT_SERVED naming those that are.
            FailedPrecondition: AMBIGUOUS_MODEL naming the deployments, or DEPLOYMENT_PAUSED.
            InvalidArgument: INVALID_RANGE.
            Unavailable: MODEL_NOT_READY.
        """
        key = (model_name, model_version)
        revision = self._resolved.get(key)
        if revision is None:
            revision = self._serving(self.deployment(model_name), model_name, model_version)
            if revision.ready and len(self._resolved) < MOST_REMEMBERED:
                self._resolved[key] = revision
        return revision

    def deployment(self, model_name: str) -> DeploymentRoute:
        """The deployment that `model_name` means; raises as `resolve` does, but not for what is merely not ready."""
        package, at, selector = model_name.partition("@")
        if not at:
            for deployment in self._table.deployments:
                if deployment.name == model_name and model_name:
                    return deployment
        candidates = [d for d in self._table.deployments if d.package == package and package]
        if at and candidates:
            wanted = Range.parse(selector)
            fitting = [d for d in candidates if any(_satisfies(wanted, r.version) for r in _current(d))]
            if not fitting:
                raise _not_served(model_name, f"{package} in no version that satisfies {selector}", candidates)
            candidates = fitting
        if len(candidates) > 1:
            candidates = [d for d in candidates if d.default] or candidates
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"no deployment and no deployed package is called {model_name!r}",
                hint=f"nnpm deploy {package or 'PACKAGE'}",
                metadata={"model": model_name[:200]},
            )
        names = ", ".join(sorted(d.name for d in candidates))
        raise FailedPrecondition(
            "AMBIGUOUS_MODEL",
            f"{model_name} is served by several deployments: {names}",
            hint="name one of these deployments instead of the package",
            metadata={"deployments": names},
        )

    def _serving(self, deployment: DeploymentRoute, model_name: str, model_version: str) -> RevisionRoute:
        if deployment.paused:
            raise FailedPrecondition(
                "DEPLOYMENT_PAUSED",
                f"deployment {deployment.name} is paused",
                hint=f"nnpm resume {deployment.name}",
                metadata={"deployment": deployment.name},
            )
        candidates = _current(deployment)
        selector = model_name.partition("@")[2]
        if selector:
            wanted = Range.parse(selector)
            candidates = [revision for revision in candidates if _satisfies(wanted, revision.version)]
        if model_version:
            candidates = [revision for revision in candidates if revision.version == model_version]
            if not candidates:
                raise _not_served(model_name, f"{model_name} in no version {model_version!r}", [deployment])
        for revision in reversed(candidates):
            if revision.serves:
                return revision
        now = time.monotonic()
        for revision in reversed(candidates):
            if self._warm_until.get(revision.id, 0.0) > now:
                return revision
        raise Unavailable(
            "MODEL_NOT_READY",
            f"deployment {deployment.name} has no warm replica",
            hint=f"nnpm ps shows what it waits for; nnpm deploy {deployment.package} --wait waits with it",
            metadata={"deployment": deployment.name},
            retry_after=1.0,
        )


def _current(deployment: DeploymentRoute) -> list[RevisionRoute]:
    return [revision for revision in deployment.revisions if not revision.draining]


def _satisfies(wanted: Range, version: str) -> bool:
    return wanted.admits(Version.parse(version))


def _not_served(model_name: str, what: str, deployments: list[DeploymentRoute]) -> NnpmError:
    served = sorted({revision.version for d in deployments for revision in _current(d) if revision.ready})
    listed = ", ".join(served) or "none"
    return NotFound(
        "VERSION_NOT_SERVED",
        f"the mesh serves {what}; served versions: {listed}",
        metadata={"model": model_name[:200], "served": listed},
    )
