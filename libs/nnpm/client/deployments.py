"""Deploying models and waiting for them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable

from google.protobuf.field_mask_pb2 import FieldMask

from nnpm.api.scheduler.v1 import deployment_pb2, deployment_service_pb2
from nnpm.client import from_messages
from nnpm.client.catalog import PAGE, pages
from nnpm.client.connection import Connection
from nnpm.client.patience import Patience
from nnpm.client.records import Batching, Deployment, Quota
from nnpm.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from nnpm.package.names import check_slug, deployment_slug
from nnpm.package.references import PackageReference

_PERMANENT_FAILURE = "failed"


class Deployments:
    """The control side of the scheduler."""

    def __init__(self, connection: Connection) -> None:
        self._control = connection.control

    async def deploy(
        self,
        reference: str,
        *,
        name: str = "",
        replicas: int | None = None,
        batching: Batching | None = None,
        quota: Quota | None = None,
    ) -> Deployment:
        """Makes the deployment, or changes the one of that name; what is not given stays as it is.

        Raises FailedPrecondition DEPLOYMENT_NAME_TAKEN when the default name serves another package.
        """
        wanted = PackageReference.parse(reference)
        slug = check_slug(name) if name else deployment_slug(wanted.package)
        spec = deployment_pb2.DeploymentSpec(
            package=deployment_pb2.PackageSource(package=str(wanted.package), selector=wanted.selector.text)
        )
        paths = ["spec.package"]
        if replicas is not None:
            spec.replicas = replicas
            paths.append("spec.replicas")
        paths += _set_batching(spec.batching, batching or Batching())
        paths += _set_quota(spec.quota, quota or Quota())
        desired = deployment_pb2.Deployment(name=slug, spec=spec)
        try:
            existing = await self.get(slug)
        except NotFound:
            request = deployment_service_pb2.CreateDeploymentRequest(deployment=desired, request_id=uuid.uuid4().hex)
            return from_messages.deployment((await self._control.CreateDeployment(request)).deployment)
        if not name and existing.package != str(wanted.package):
            raise FailedPrecondition(
                "DEPLOYMENT_NAME_TAKEN",
                f"the deployment {slug} serves {existing.package}",
                hint="give this one a name of its own with --name",
            )
        update = deployment_service_pb2.UpdateDeploymentRequest(deployment=desired, update_mask=FieldMask(paths=paths))
        return from_messages.deployment((await self._control.UpdateDeployment(update)).deployment)

    async def get(self, name: str) -> Deployment:
        """A deployment by its name, or by its package when only one serves it."""
        answer = await self._control.GetDeployment(deployment_service_pb2.GetDeploymentRequest(name=name))
        return from_messages.deployment(answer.deployment)

    async def list(self) -> tuple[Deployment, ...]:
        """All deployments, by name."""

        def page(token: str) -> Awaitable[deployment_service_pb2.ListDeploymentsResponse]:
            return self._control.ListDeployments(
                deployment_service_pb2.ListDeploymentsRequest(page_size=PAGE, page_token=token)
            )

        return tuple([from_messages.deployment(one) async for answer in pages(page) for one in answer.deployments])

    async def delete(self, name: str) -> Deployment:
        """Drains and unloads; calls in flight are answered."""
        existing = await self.get(name)
        await self._control.DeleteDeployment(deployment_service_pb2.DeleteDeploymentRequest(name=existing.name))
        return existing

    async def pause(self, name: str) -> Deployment:
        """Unloads until resumed, through restarts too."""
        existing = await self.get(name)
        request = deployment_service_pb2.PauseDeploymentRequest(name=existing.name)
        return from_messages.deployment((await self._control.PauseDeployment(request)).deployment)

    async def resume(self, name: str) -> Deployment:
        """Loads a paused deployment again."""
        existing = await self.get(name)
        request = deployment_service_pb2.ResumeDeploymentRequest(name=existing.name)
        return from_messages.deployment((await self._control.ResumeDeployment(request)).deployment)

    async def wait(self, deployment: Deployment, timeout: float) -> Deployment:
        """Waits until that revision, or a later one, serves.

        Raises:
            FailedPrecondition: it can't be loaded, with the reason and what the worker says; or DEPLOYMENT_PAUSED.
            DeadlineExceeded: not ready after `timeout` seconds; says how far it is.
        """
        latest = deployment
        try:
            async with asyncio.timeout(timeout):
                while True:
                    patience = Patience(timeout)
                    try:
                        async for latest in self._watch(deployment.name, timeout):
                            if latest.revision >= deployment.revision and latest.state == "ready":
                                return latest
                            if latest.revision >= deployment.revision and latest.state == _PERMANENT_FAILURE:
                                raise _failure(latest)
                            if latest.state == "paused":
                                raise _paused(latest)
                    except Unavailable as fault:
                        await patience.wait(fault)
        except TimeoutError:
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED",
                f"{deployment.name} is {latest.state} after {timeout:.0f} s"
                + (f": {latest.message}" if latest.message else ""),
                hint="`nnpm ps` and `nnpm logs` show what it waits for",
                metadata={"deployment": deployment.name},
            ) from None

    async def _watch(self, name: str, timeout: float) -> AsyncIterator[Deployment]:
        request = deployment_service_pb2.WatchDeploymentRequest(name=name)
        async for answer in self._control.WatchDeployment(request, timeout=timeout):
            yield from_messages.deployment(answer.deployment)


def _failure(deployment: Deployment) -> FailedPrecondition:
    return FailedPrecondition(
        deployment.reason or "MODEL_LOAD_FAILED",
        f"{deployment.name} cannot serve {deployment.package}@{deployment.selector}: {deployment.message}",
        metadata={"deployment": deployment.name},
    )


def _paused(deployment: Deployment) -> FailedPrecondition:
    return FailedPrecondition(
        "DEPLOYMENT_PAUSED",
        f"deployment {deployment.name} is paused, so nothing of it is loaded",
        hint=f"nnpm resume {deployment.name}",
        metadata={"deployment": deployment.name},
    )


def _set_batching(spec: deployment_pb2.BatchingSpec, batching: Batching) -> list[str]:
    """Sets what is given; returns the paths of what was set."""
    paths = []
    if batching.max_batch_size is not None:
        spec.max_batch_size = batching.max_batch_size
        paths.append("spec.batching.max_batch_size")
    if batching.max_queue_delay is not None:
        spec.max_queue_delay.FromMicroseconds(round(batching.max_queue_delay * 1e6))
        paths.append("spec.batching.max_queue_delay")
    if batching.preferred_batch_sizes is not None:
        spec.preferred_batch_sizes.extend(batching.preferred_batch_sizes)
        paths.append("spec.batching.preferred_batch_sizes")
    return paths


def _set_quota(spec: deployment_pb2.QuotaSpec, quota: Quota) -> list[str]:
    paths = []
    if quota.requests_per_second is not None:
        spec.requests_per_second = quota.requests_per_second
        paths.append("spec.quota.requests_per_second")
    if quota.in_flight is not None:
        spec.in_flight = quota.in_flight
        paths.append("spec.quota.in_flight")
    return paths
