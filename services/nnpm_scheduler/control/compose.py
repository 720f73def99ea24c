"""The control path's composition: what talks to what."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Protocol

import grpc.aio
from redis.asyncio import Redis

from nnpm.api.scheduler.v1 import deployment_service_pb2_grpc
from nnpm.api.worker.v1 import worker_pb2_grpc
from nnpm.errors import NnpmError
from nnpm.queue.schedulers import LiveScheduler
from nnpm.rpc.channels import open_channel
from nnpm.rpc.server import GrpcServer
from nnpm.rpc.tls import Tls
from nnpm.sql.database import Database
from nnpm_scheduler.control import service_deployments, service_workers
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.failures import LoadFailures
from nnpm_scheduler.control.fleet import Fleet
from nnpm_scheduler.control.leadership import Leadership
from nnpm_scheduler.control.lifecycle import Lifecycle
from nnpm_scheduler.control.reconciler import Reconciler, Traffic
from nnpm_scheduler.control.registry import Registry
from nnpm_scheduler.control.repository import Repository
from nnpm_scheduler.control.service_deployments import DeploymentService
from nnpm_scheduler.control.service_workers import Inflight, WorkerService
from nnpm_scheduler.control.sessions import Sessions
from nnpm_scheduler.control.store import Store
from nnpm_scheduler.dispatch.routes import Routes

_MIGRATIONS = Path(__file__).parent / "migrations"


class Dispatch(Inflight, Traffic, Protocol):
    """What the control path needs of the dispatch path."""


class Control:
    """The control path of one scheduler process. Made by `open_control`; `run` is its life."""

    def __init__(
        self,
        *,
        scheduler: LiveScheduler,
        redis: Redis,
        database: Database,
        registry: grpc.aio.Channel,
        routes: Routes,
        dispatch: Dispatch,
    ) -> None:
        changes, failures = Changes(), LoadFailures()
        store = Store(database)
        fleet = Fleet(changes)
        self._database = database
        self._registry = registry
        self._desired = DesiredState(store, changes)
        self._leadership = Leadership(redis, scheduler.incarnation, store, changes)
        self.workers = Sessions(fleet, failures, dispatch)
        """The workers that live, and how to tell them that a call is cancelled."""
        self._reconciler = Reconciler(
            desired=self._desired,
            fleet=fleet,
            failures=failures,
            sessions=self.workers,
            leadership=self._leadership,
            store=store,
            routes=routes,
            traffic=dispatch,
            changes=changes,
        )
        lifecycle = Lifecycle(store, self._desired, Registry(registry), failures)
        self.repository = Repository(lifecycle, self._desired, self._reconciler, changes)
        """Load and unload by a model's name."""
        self._deployment_service = DeploymentService(
            lifecycle=lifecycle,
            desired=self._desired,
            store=store,
            fleet=fleet,
            reconciler=self._reconciler,
            changes=changes,
        )
        self._worker_service = WorkerService(scheduler, self.workers, fleet, dispatch, redis)

    def add_to_control_server(self, server: GrpcServer) -> None:
        """Serve deployments there."""
        add = partial(deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server, self._deployment_service)
        server.add(service_deployments.SERVICE, add)

    def add_to_mesh_server(self, server: GrpcServer) -> None:
        """Serve workers there."""
        server.add(
            service_workers.SERVICE, partial(worker_pb2_grpc.add_WorkerServiceServicer_to_server, self._worker_service)
        )

    async def start(self, stop: asyncio.Event) -> None:
        """Bring the database to this version's schema and read desired state; before any server starts.

        Waits for the database's server, unless stopped. Raises FailedPrecondition DATABASE_TOO_NEW; Unavailable
        DATABASE_UNAVAILABLE for one that waiting does not mend.
        """
        if await self._database.migrate_when_there(stop) is None:
            return
        await self._desired.refresh()
        self._reconciler.plan()

    async def run(self, stop: asyncio.Event) -> None:
        """Leads, reconciles and follows the database until `stop` is set; then ends all Sessions."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (self._leadership.keep(), self._desired.keep(), self._reconciler.run())
            ]
            await stop.wait()
            for task in running:
                task.cancel()
        self.workers.close()
        await self._leadership.resign()

    async def close(self) -> None:
        """Give back what `open_control` opened."""
        await self._registry.close()
        await asyncio.to_thread(self._database.close)


async def open_control(
    *,
    scheduler: LiveScheduler,
    redis: Redis,
    database_url: str,
    registry_address: str,
    routes: Routes,
    dispatch: Dispatch,
    stop: asyncio.Event,
    tls: Tls | None = None,
) -> Control:
    """The control path, ready to be added to servers. Its failures are `Control.start`'s."""
    control = Control(
        scheduler=scheduler,
        redis=redis,
        database=Database("scheduler", database_url, _MIGRATIONS),
        registry=open_channel(registry_address, tls=tls),
        routes=routes,
        dispatch=dispatch,
    )
    try:
        await control.start(stop)
    except NnpmError:
        await control.close()
        raise
    return control
