"""What users do to deployments: create, change, pause, resume, roll back, delete."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from nnpm.errors import Aborted, FailedPrecondition, InvalidArgument
from nnpm.package.names import PackageName, check_slug, deployment_slug
from nnpm.rpc.requests import check_request_id
from nnpm_scheduler.control.deployments import Deployment, PublishedVersion, Revision, Spec
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.failures import LoadFailures
from nnpm_scheduler.control.store import Creation, Store

CONFLICTS = 3
"""Attempts at a change that names no etag, when others change the deployment at the same time."""


class Resolver(Protocol):
    """Whoever knows which exact version a spec means: the registry."""

    async def resolve(self, spec: Spec) -> PublishedVersion:
        """Raises NotFound, FailedPrecondition VERSION_YANKED, Unavailable REGISTRY_UNREACHABLE."""
        ...


class Lifecycle:
    """Changes desired state, one numbered revision a change; what follows from it is the reconciler's work."""

    def __init__(self, store: Store, desired: DesiredState, registry: Resolver, failures: LoadFailures) -> None:
        self._store = store
        self._desired = desired
        self._registry = registry
        self._failures = failures

    async def create(self, name: str, spec: Spec, request_id: str = "") -> Deployment:
        """A new deployment; `name` empty = after its package. A repeated request id answers the first one's.

        Raises:
            InvalidArgument: a name, selector, number or request id is wrong.
            AlreadyExists: DEPLOYMENT_EXISTS, REQUEST_ID_REUSED.
            NotFound, FailedPrecondition, Unavailable: as `Resolver.resolve`.
        """
        check_request_id(request_id)
        spec = spec.checked()
        name = check_slug(name) if name else deployment_slug(PackageName.parse(spec.package))
        creation = Creation(request_id, hashlib.sha256(repr((name, spec)).encode()).hexdigest())
        first = await self._store.created(creation)
        if first is None:
            now = datetime.now(UTC)
            deployment = Deployment(
                name=name,
                uid=uuid.uuid4().hex,
                generation=1,
                paused=False,
                newest=_revision(1, spec, await self._registry.resolve(spec)),
                serving=None,
                create_time=now,
                update_time=now,
            )
            first = await self._store.create(deployment, creation)
        await self._desired.refresh()
        return first

    async def update(self, name: str, etag: str, change: Callable[[Spec], Spec], *, resolve: bool) -> Deployment:
        """Changes the spec. A change that changes nothing makes no revision, but lets a failed one be tried anew.

        Args:
            change: from the spec that is to the one that is wanted.
            resolve: ask the registry again, although the selector may be the same: it may mean a newer version.

        Raises:
            NotFound: DEPLOYMENT_NOT_FOUND, or as `Resolver.resolve`.
            Aborted: ETAG_MISMATCH, DEPLOYMENT_CHANGED.
        """

        async def attempt(deployment: Deployment) -> Deployment:
            spec = change(deployment.spec).checked()
            source_changed = (spec.package, spec.selector) != (deployment.spec.package, deployment.spec.selector)
            published = deployment.newest.published
            if resolve or source_changed:
                published = await self._registry.resolve(spec)
            return await self._revise(deployment, spec, published)

        return await self._changed(name, etag, attempt)

    async def roll_back(self, name: str, number: int) -> Deployment:
        """A new revision with the spec and the exact version of an older one; 0 = the one before the newest.

        Needs no registry: what has been deployed once is known here.
        Raises NotFound DEPLOYMENT_NOT_FOUND, REVISION_NOT_FOUND; FailedPrecondition NO_EARLIER_REVISION.
        """

        async def attempt(deployment: Deployment) -> Deployment:
            if number < 0:
                raise InvalidArgument("INVALID_DEPLOYMENT", f"revision {number}: revisions count from 1")
            wanted = number or deployment.newest.number - 1
            if wanted == 0:
                raise FailedPrecondition(
                    "NO_EARLIER_REVISION",
                    f"deployment {deployment.name} has one revision, so there is none to go back to",
                )
            older = await self._store.revision(deployment, wanted)
            return await self._revise(deployment, older.spec, older.published)

        return await self._changed(name, "", attempt)

    async def pause(self, name: str) -> Deployment:
        """Nothing of it is loaded until it is resumed. Raises NotFound DEPLOYMENT_NOT_FOUND."""

        async def attempt(deployment: Deployment) -> Deployment:
            return deployment if deployment.paused else await self._store.change(deployment, paused=True)

        return await self._changed(name, "", attempt)

    async def resume(self, name: str) -> Deployment:
        """Load it (again); also what could not be loaded before. Raises NotFound DEPLOYMENT_NOT_FOUND."""

        async def attempt(deployment: Deployment) -> Deployment:
            await self._try_anew(deployment)
            return await self._store.change(deployment, paused=False) if deployment.paused else deployment

        return await self._changed(name, "", attempt)

    async def delete(self, name: str, etag: str = "") -> None:
        """Its calls in flight are answered, then it is unloaded. Raises NotFound DEPLOYMENT_NOT_FOUND."""

        async def attempt(deployment: Deployment) -> Deployment:
            await self._store.delete(deployment)
            return deployment

        await self._changed(name, etag, attempt)

    async def _changed(
        self, name: str, etag: str, attempt: Callable[[Deployment], Awaitable[Deployment]]
    ) -> Deployment:
        """Makes the attempt on the deployment as it is, again when somebody else's change came between."""
        for remaining in reversed(range(CONFLICTS)):
            await self._desired.refresh()
            deployment = self._desired.find(name)
            if etag and etag != deployment.etag:
                raise Aborted(
                    "ETAG_MISMATCH",
                    f"deployment {deployment.name} has changed since it was read",
                    hint="read it again and repeat the change",
                    metadata={"deployment": deployment.name, "etag": deployment.etag},
                )
            try:
                changed = await attempt(deployment)
            except Aborted:
                if etag or not remaining:
                    raise
                continue
            await self._desired.refresh()
            return changed
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _revise(self, deployment: Deployment, spec: Spec, published: PublishedVersion) -> Deployment:
        newest = deployment.newest
        await self._try_anew(deployment)
        if spec == newest.spec and published.digest == newest.published.digest:
            return deployment
        revision = _revision(newest.number + 1, spec, published)
        for loaded in (newest, deployment.serving):
            if loaded is not None and _loads_alike(loaded, revision):
                revision = replace(revision, id=loaded.id)
        return await self._store.change(deployment, paused=deployment.paused, revision=revision)

    async def _try_anew(self, deployment: Deployment) -> None:
        self._failures.forget(deployment.newest.id)
        if deployment.newest.failure is not None:
            await self._store.set_failure(deployment.uid, deployment.newest.number, None)


def _revision(number: int, spec: Spec, published: PublishedVersion) -> Revision:
    return Revision(number, uuid.uuid4().hex, spec, published, datetime.now(UTC))


def _loads_alike(one: Revision, other: Revision) -> bool:
    """Whether a worker would see no difference: then what is loaded stays loaded."""
    return (one.published.digest, one.spec.batching) == (other.published.digest, other.spec.batching)
