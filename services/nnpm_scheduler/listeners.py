"""The three doors of a scheduler process: inference for clients, deployments for operators, the mesh for workers.

With the native transport the data and the mesh door are the front's: it answers the dispatch path's methods itself and
passes every other one on to a grpc.aio server behind it, over a unix socket in a folder of this process's own.
"""

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nnpm.api.inference.pool import POOL
from nnpm.errors import Unavailable
from nnpm.rpc.server import GrpcServer
from nnpm.rpc.tls import check_listen
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.control.compose import Control
from nnpm_scheduler.dispatch.inference import BARE_METHODS, SERVICE, InferenceService
from nnpm_scheduler.settings import SchedulerSettings

if TYPE_CHECKING:
    from nnpm_wire import Front

MESH_HEADROOM = 1024 * 1024
"""A worker's reply may be as large as a message to a client, and travels with a few fields more."""

READINESS_CHECKED = 0.1
"""Seconds between two looks at whether the scheduler is ready."""

LAST_WORDS = 1.0
"""Seconds that calls have to end when their server stops, after the drain."""


class Listeners:
    """Opens and closes the doors, and says on them whether the scheduler is ready.

    Args:
        front: the native transport's; None: grpc.aio serves everything.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        metrics: Metrics,
        inference: InferenceService,
        control: Control,
        front: "Front | None",
    ) -> None:
        self._settings = settings
        self._inference = inference
        self._control = control
        self._front = front
        self._behind = tempfile.TemporaryDirectory(prefix="nnpm-") if front is not None else None
        behind = settings.model_copy(update={"tls_cert": None, "tls_key": None, "tls_ca": None})
        own = settings if front is None else behind
        self._data = GrpcServer(
            own, self._address(settings.scheduler_listen, "data"), metrics, pool=POOL, bare_methods=BARE_METHODS
        )
        self._data.add(SERVICE, inference.register)
        self._deployments = GrpcServer(settings, settings.control_listen, metrics)
        control.add_to_control_server(self._deployments)
        roomy = own.model_copy(update={"max_message_bytes": settings.max_message_bytes + MESH_HEADROOM})
        self._mesh = GrpcServer(roomy, self._address(settings.mesh_listen, "mesh"), metrics)
        control.add_to_mesh_server(self._mesh)
        self._shown = {"data": self._data.address, "mesh": self._mesh.address}

    async def start(self) -> None:
        """Listen. Raises LISTEN_NOT_LOOPBACK, or Unavailable ADDRESS_IN_USE."""
        for server in (self._mesh, self._deployments, self._data):
            await server.start()
        if self._front is None:
            self._shown = {"data": self._data.address, "mesh": self._mesh.address}
        else:
            self._shown["mesh"] = self._open_front(self._front, self._settings.mesh_listen, "mesh")
            self._shown["data"] = self._open_front(self._front, self._settings.scheduler_listen, "data")
        await self._mesh.set_serving(True)

    def addresses(self) -> dict[str, str]:
        """Where each listens."""
        return {**self._shown, "control": self._deployments.address}

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
        if self._front is not None:
            self._front.drain()
        await asyncio.gather(self._data.stop(LAST_WORDS), self._deployments.stop(LAST_WORDS))

    async def stop(self) -> None:
        """Close whatever is open; fine after `stop_clients`, and after a start that failed."""
        await self.stop_clients()
        await self._mesh.stop(LAST_WORDS)
        if self._behind is not None:
            self._behind.cleanup()

    def _address(self, listen: str, role: Literal["data", "mesh"]) -> str:
        return listen if self._behind is None else f"unix:{self._behind.name}/{role}"

    def _open_front(self, front: "Front", listen: str, role: Literal["data", "mesh"]) -> str:
        # A socket of this machine is guarded by its folder's rights, and no certificate names it.
        tls = None if listen.startswith("unix:") else self._settings.tls.server_pem()
        check_listen(listen, secure=tls is not None, insecure_allowed=self._settings.insecure)
        if listen.startswith("unix:"):
            # A socket file left by a killed process would keep the address; a live one is caught by its owner's lock.
            with suppress(FileNotFoundError):
                Path(listen.removeprefix("unix:")).unlink()
        try:
            upstream = self._address(listen, role).removeprefix("unix:")
            return front.listen(listen, upstream=upstream, role=role, tls=tls)
        except OSError as error:
            raise Unavailable(
                "ADDRESS_IN_USE",
                f"cannot listen on {listen}: {error.strerror or error}",
                hint="stop the process that has it, or choose another address",
                metadata={"address": listen},
            ) from None
