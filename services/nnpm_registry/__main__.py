"""Composes the registry and serves it: `python -m nnpm_registry`."""

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from nnpm.api.registry.v1 import registry_pb2_grpc
from nnpm.rpc.channels import open_channel
from nnpm.rpc.readiness import Readiness
from nnpm.rpc.run import run_service
from nnpm.rpc.server import GrpcServer
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_registry.artifacts import Artifacts
from nnpm_registry.commits import Commits
from nnpm_registry.inspection.inspector import Inspector, Limits
from nnpm_registry.namespaces import Namespaces
from nnpm_registry.packages import Packages
from nnpm_registry.service import SERVICE, RegistryService
from nnpm_registry.settings import RegistrySettings
from nnpm_registry.tags import Tags
from nnpm_registry.upkeep import Upkeep
from nnpm_registry.versions import Versions
from nnpm_registry.watch import Watch

_MIGRATIONS = Path(__file__).parent / "migrations"


async def serve(settings: RegistrySettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set, then let calls in flight end."""
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        metrics.serve(settings.metrics_listen, insecure=settings.insecure)
        database = Database("registry", settings.registry_database_url, _MIGRATIONS)
        stack.callback(database.close)
        if await database.migrate_when_there(stop) is None:
            return

        channel = open_channel(
            settings.artifact_address, tls=settings.tls, max_message_bytes=settings.max_message_bytes
        )
        artifacts = Artifacts(await stack.enter_async_context(channel))
        limits = Limits(
            memory_bytes=settings.registry_inspection_memory_bytes,
            seconds=settings.registry_inspection_seconds,
            at_once=settings.registry_inspections,
        )
        commits = Commits(database, artifacts, Inspector(limits))
        service = RegistryService(
            namespaces=Namespaces(database),
            packages=Packages(database),
            versions=Versions(database, settings.registry_draft_seconds),
            commits=commits,
            tags=Tags(database),
            watch=Watch(database, stop),
        )
        server = GrpcServer(settings, settings.registry_listen, metrics)
        server.add(SERVICE, partial(registry_pb2_grpc.add_RegistryServiceServicer_to_server, service))
        await server.start()
        stack.push_async_callback(server.stop)
        get_logger("registry").info("listening", address=server.address)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Readiness(database.check).watch(stop, server.set_serving))
            upkeep = tasks.create_task(Upkeep(database, artifacts, commits).run())
            await stop.wait()
            upkeep.cancel()


if __name__ == "__main__":
    sys.exit(run_service("registry", RegistrySettings, serve))
