"""The three doors of a scheduler process: inference for clients, deployments for operators, the mesh for workers."""

import asyncio

from nnpm.api.inference.pool import POOL
from nnpm.rpc.server import GrpcServer
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.control.compose import Control
from nnpm_scheduler.dispatch.inference import BARE_METHODS, SERVICE, InferenceService
from nnpm_scheduler.settings import SchedulerSettings

MESH_HEADROOM = 1024 * 1024
"""A worker's reply may be as large as a message to a client, and travels with a few fields more."""

READINESS_CHECKED = 0.1
"""Seconds between two looks at whether the scheduler is ready."""

LAST_WORDS = 1.0
"""Seconds that calls have to end when their server stops, after the drain."""


class Listeners:
    """Opens and closes the doors, and says on them whether the scheduler is ready."""

    def __init__(
        self, settings: SchedulerSettings, metrics: Metrics, inference: InferenceService, control: Control
    ) -> None:
        self._inference = inference
        self._control = control
        self._data = GrpcServer(settings, settings.scheduler_listen, metrics, pool=POOL, bare_methods=BARE_METHODS)
        self._data.add(SERVICE, inference.register)
        self._deployments = GrpcServer(settings, settings.control_listen, metrics)
        control.add_to_control_server(self._deployments)
        roomy = settings.model_copy(update={"max_message_bytes": settings.max_message_bytes + MESH_HEADROOM})
        self._mesh = GrpcServer(roomy, settings.mesh_listen, metrics)
        control.add_to_mesh_server(self._mesh)

    async def start(self) -> None:
        """Listen. Raises LISTEN_NOT_LOOPBACK, or Unavailable ADDRESS_IN_USE."""
        for server in (self._mesh, self._deployments, self._data):
            await server.start()
        await self._mesh.set_serving(True)

    def addresses(self) -> dict[str, str]:
        """Where each listens."""
        return {"data": self._data.address, "control": self._deployments.address, "mesh": self._mesh.address}

    async def show_readiness(self) -> None:
        """Keeps health in step with what the scheduler can do, until cancelled."""
        shown: tuple[bool, bool] | None = None
        while True:
            ready = self._inference.ready(), self._control.repository.ready()
            if ready != shown:
                await self._data.set_serving(ready[0])
                await self._deployments.set_serving(ready[1])
                shown = ready
            await asyncio.sleep(READINESS_CHECKED)

    async def refuse(self) -> None:
        """Shows clients that the scheduler is about to stop."""
        await self._data.set_serving(False)
        await self._deployments.set_serving(False)

    async def stop_clients(self) -> None:
        """Close the doors for clients; workers can still deliver."""
        await asyncio.gather(self._data.stop(LAST_WORDS), self._deployments.stop(LAST_WORDS))

    async def stop(self) -> None:
        """Close whatever is open; fine after `stop_clients`, and after a start that failed."""
        await self.stop_clients()
        await self._mesh.stop(LAST_WORDS)
