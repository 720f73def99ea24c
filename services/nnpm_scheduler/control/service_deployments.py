"""`nnpm.api.scheduler.v1.DeploymentService`: translates, delegates, translates back."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from nnpm.api.scheduler.v1 import deployment_pb2, deployment_service_pb2_grpc
from nnpm.api.scheduler.v1 import deployment_service_pb2 as rpc
from nnpm.errors import InvalidArgument, NotFound
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.deployment_messages import (
    change_of,
    deployment_message,
    revision_message,
    spec_of,
    worker_message,
)
from nnpm_scheduler.control.deployments import Deployment
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.fleet import Fleet, Worker
from nnpm_scheduler.control.lifecycle import Lifecycle
from nnpm_scheduler.control.reconciler import Reconciler
from nnpm_scheduler.control.store import Store

SERVICE = "nnpm.api.scheduler.v1.DeploymentService"

WATCH_LOOK = 30.0
"""Seconds after which a watch looks again although nothing was said to have changed."""

Context = grpc.aio.ServicerContext[Any, Any]


class DeploymentService(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """The control port's servicer."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        desired: DesiredState,
        store: Store,
        fleet: Fleet,
        reconciler: Reconciler,
        changes: Changes,
    ) -> None:
        self._lifecycle = lifecycle
        self._desired = desired
        self._store = store
        self._fleet = fleet
        self._reconciler = reconciler
        self._changes = changes

    async def CreateDeployment(
        self, request: rpc.CreateDeploymentRequest, context: Context
    ) -> rpc.CreateDeploymentResponse:
        """A new deployment."""
        wanted = request.deployment
        deployment = await self._lifecycle.create(wanted.name, spec_of(wanted.spec), request.request_id)
        return rpc.CreateDeploymentResponse(deployment=self._message(deployment))

    async def GetDeployment(self, request: rpc.GetDeploymentRequest, context: Context) -> rpc.GetDeploymentResponse:
        """One deployment."""
        await self._desired.refresh()
        return rpc.GetDeploymentResponse(deployment=self._message(self._desired.find(request.name)))

    async def ListDeployments(
        self, request: rpc.ListDeploymentsRequest, context: Context
    ) -> rpc.ListDeploymentsResponse:
        """Deployments by name."""
        size, last = page_size(request.page_size), last_seen(request.page_token)
        await self._desired.refresh()
        found = [deployment for deployment in self._desired.deployments if deployment.name > last]
        return rpc.ListDeploymentsResponse(
            deployments=map(self._message, found[:size]),
            next_page_token=page_token(found[size - 1].name) if len(found) > size else "",
        )

    async def UpdateDeployment(
        self, request: rpc.UpdateDeploymentRequest, context: Context
    ) -> rpc.UpdateDeploymentResponse:
        """A change of the spec."""
        wanted = request.deployment
        change, resolve = change_of(wanted.spec, request.update_mask.paths)
        deployment = await self._lifecycle.update(wanted.name, wanted.etag, change, resolve=resolve)
        return rpc.UpdateDeploymentResponse(deployment=self._message(deployment))

    async def DeleteDeployment(
        self, request: rpc.DeleteDeploymentRequest, context: Context
    ) -> rpc.DeleteDeploymentResponse:
        """The end of a deployment."""
        await self._lifecycle.delete(request.name, request.etag)
        return rpc.DeleteDeploymentResponse()

    async def PauseDeployment(
        self, request: rpc.PauseDeploymentRequest, context: Context
    ) -> rpc.PauseDeploymentResponse:
        """Unload until resumed."""
        return rpc.PauseDeploymentResponse(deployment=self._message(await self._lifecycle.pause(request.name)))

    async def ResumeDeployment(
        self, request: rpc.ResumeDeploymentRequest, context: Context
    ) -> rpc.ResumeDeploymentResponse:
        """Load again."""
        return rpc.ResumeDeploymentResponse(deployment=self._message(await self._lifecycle.resume(request.name)))

    async def RollbackDeployment(
        self, request: rpc.RollbackDeploymentRequest, context: Context
    ) -> rpc.RollbackDeploymentResponse:
        """Back to an older revision."""
        deployment = await self._lifecycle.roll_back(request.name, request.revision)
        return rpc.RollbackDeploymentResponse(deployment=self._message(deployment))

    async def GetRevision(self, request: rpc.GetRevisionRequest, context: Context) -> rpc.GetRevisionResponse:
        """One revision."""
        await self._desired.refresh()
        deployment = self._desired.find(request.deployment)
        revision = await self._store.revision(deployment, request.number)
        return rpc.GetRevisionResponse(revision=revision_message(deployment, revision, self._reconciler.view()))

    async def ListRevisions(self, request: rpc.ListRevisionsRequest, context: Context) -> rpc.ListRevisionsResponse:
        """Revisions, newest first."""
        size, below = page_size(request.page_size), _number(last_seen(request.page_token))
        await self._desired.refresh()
        deployment = self._desired.find(request.deployment)
        found = await self._store.revisions(deployment.uid, below, size + 1)
        view = self._reconciler.view()
        return rpc.ListRevisionsResponse(
            revisions=[revision_message(deployment, revision, view) for revision in found[:size]],
            next_page_token=page_token(str(found[size - 1].number)) if len(found) > size else "",
        )

    async def WatchDeployment(
        self, request: rpc.WatchDeploymentRequest, context: Context
    ) -> AsyncIterator[rpc.WatchDeploymentResponse]:
        """The deployment now and after every change; two changes in quick succession may come as one."""
        await self._desired.refresh()
        uid, name = self._watched(request.name)
        said: deployment_pb2.Deployment | None = None
        while True:
            seen = self._changes.count
            deployment = self._desired.find(name)
            if deployment.uid != uid:
                raise NotFound("DEPLOYMENT_NOT_FOUND", f"deployment {name} was deleted, and made anew since")
            message = self._message(deployment)
            if message != said:
                said = message
                yield rpc.WatchDeploymentResponse(deployment=message)
            await self._changes.wait(seen, WATCH_LOOK)

    async def ListWorkers(self, request: rpc.ListWorkersRequest, context: Context) -> rpc.ListWorkersResponse:
        """Connected workers, by id."""
        size, last = page_size(request.page_size), last_seen(request.page_token)
        workers = sorted(self._fleet.workers, key=lambda worker: worker.incarnation)
        found = [worker for worker in workers if worker.incarnation > last]
        return rpc.ListWorkersResponse(
            workers=map(self._worker_message, found[:size]),
            next_page_token=page_token(found[size - 1].incarnation) if len(found) > size else "",
        )

    async def GetWorker(self, request: rpc.GetWorkerRequest, context: Context) -> rpc.GetWorkerResponse:
        """One worker."""
        return rpc.GetWorkerResponse(worker=self._worker_message(self._worker(request.worker)))

    async def DrainWorker(self, request: rpc.DrainWorkerRequest, context: Context) -> rpc.DrainWorkerResponse:
        """Move what a worker has elsewhere."""
        worker = self._worker(request.worker)
        self._fleet.drain(worker.incarnation)
        return rpc.DrainWorkerResponse(worker=self._worker_message(self._worker(worker.incarnation)))

    def _watched(self, name: str) -> tuple[str, str]:
        deployment = self._desired.find(name)
        return deployment.uid, deployment.name

    def _worker(self, id_or_name: str) -> Worker:
        for worker in self._fleet.workers:
            if id_or_name in (worker.incarnation, worker.facts.name):
                return worker
        raise NotFound(
            "WORKER_NOT_FOUND",
            f"no worker with the id or name {id_or_name[:200]!r} is connected",
            metadata={"worker": id_or_name[:200]},
        )

    def _message(self, deployment: Deployment) -> deployment_pb2.Deployment:
        return deployment_message(deployment, self._reconciler.view())

    def _worker_message(self, worker: Worker) -> deployment_pb2.Worker:
        return worker_message(worker, self._desired.deployments)


def _number(text: str) -> int | None:
    """The revision number that a page token names."""
    try:
        return int(text) if text else None
    except ValueError:
        raise InvalidArgument("INVALID_PAGE_TOKEN", "page_token is not one of this method's") from None
