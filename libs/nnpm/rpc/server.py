"""A gRPC server as every nnpm service runs one: health by readiness, reflection, rich errors, graceful stop."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from nnpm.errors import Unavailable
from nnpm.rpc.limits import server_options
from nnpm.rpc.reflection import add_reflection
from nnpm.rpc.server_edge import ServerEdge
from nnpm.rpc.tls import check_listen
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics


class GrpcServer:
    """One listener with its services.

    Build it, `add` each service, `start`, and say with `set_serving` when it is ready. Health is NOT_SERVING until
    then, under each service's full name and under the empty name.

    Args:
        settings: message sizes, TLS and `insecure`.
        listen: `host:port` (port 0 = any free one) or `unix:/path`.
        metrics: where calls are counted.
        pool: holds the services' descriptors, for reflection.
        bare_methods: `/package.Service/Method` of methods that report their own errors, spans and figures.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        listen: str,
        metrics: Metrics,
        *,
        pool: DescriptorPool | None = None,
        bare_methods: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._listen = listen
        self._pool = pool or descriptor_pool.Default()
        self._server = grpc.aio.server(options=server_options(settings.max_message_bytes))
        self._behind_edge = ServerEdge(metrics, bare_methods).before(self._server)
        self._health = health_aio.HealthServicer()
        self._services: list[str] = []
        self.address = listen
        """Where it listens; the real port once started."""

    def add(self, service: str, register: Callable[[grpc.aio.Server], None]) -> None:
        """Add a service under its full name; `register` gets the grpc.aio server to add its handlers to."""
        register(self._behind_edge)
        self._services.append(service)

    async def start(self) -> None:
        """Listen. Raises LISTEN_NOT_LOOPBACK, or Unavailable ADDRESS_IN_USE."""
        settings = self._settings
        # A socket of this machine is guarded by its folder's rights, and no certificate names it.
        credentials = None if self._listen.startswith("unix:") else settings.tls.server_credentials()
        check_listen(self._listen, secure=credentials is not None, insecure_allowed=settings.insecure)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection(self._server, self._services, self._pool)
        await self.set_serving(False)
        self.address = self._bind(credentials)
        await self._server.start()

    async def set_serving(self, ready: bool) -> None:
        """Say whether calls can be answered now, to whoever asks health."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, status)

    async def stop(self, grace: float | None = None) -> None:
        """Turn health off, refuse new calls, let those in flight finish for `grace` seconds (None: the settings')."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.shutdown_grace_seconds if grace is None else grace)

    def _bind(self, credentials: grpc.ServerCredentials | None) -> str:
        if self._listen.startswith("unix:"):
            # A socket file left by a killed process would keep the address; a live one is caught by its owner's lock.
            with suppress(FileNotFoundError):
                Path(self._listen.removeprefix("unix:")).unlink()
        try:
            if credentials is None:
                port = self._server.add_insecure_port(self._listen)
            else:
                port = self._server.add_secure_port(self._listen, credentials)
        except RuntimeError:
            port = 0
        if not port:
            raise Unavailable(
                "ADDRESS_IN_USE",
                f"cannot listen on {self._listen}: the address is in use, or not one of this machine's",
                hint="stop the process that has it, or choose another address",
                metadata={"address": self._listen},
            )
        return self._listen if self._listen.startswith("unix:") else f"{self._listen.rpartition(':')[0]}:{port}"
