"""Composes the artifact service and serves it: `python -m nnpm_artifact`."""

import asyncio
import gc
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nnpm.api.artifact.v1 import artifact_pb2_grpc
from nnpm.errors import InvalidArgument
from nnpm.rpc.readiness import Readiness
from nnpm.rpc.run import run_service
from nnpm.rpc.server import GrpcServer
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_artifact.arrivals import Arrivals
from nnpm_artifact.clock import wall_clock
from nnpm_artifact.collection import Collection
from nnpm_artifact.commits import Commits
from nnpm_artifact.dependencies import Dependencies
from nnpm_artifact.direct import DirectReads
from nnpm_artifact.files import Files
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.heap import keep_freed
from nnpm_artifact.intake import Intakes
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.presigned import Endpoint, RangeSigner
from nnpm_artifact.reading import ChunkReader
from nnpm_artifact.recovery import Recovery
from nnpm_artifact.references import References
from nnpm_artifact.seat import Seat, seat_of
from nnpm_artifact.service import SERVICE, ArtifactService
from nnpm_artifact.settings import ArtifactSettings
from nnpm_artifact.threads import Threads
from nnpm_artifact.upkeep import Upkeep
from nnpm_artifact.uploads import Uploads

if TYPE_CHECKING:
    from nnpm_artifact.s3_store import Bucket


async def serve(settings: ArtifactSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set, then let calls in flight end, and what they brought be stored."""
    keep_freed()
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        metrics.serve(settings.metrics_listen, insecure=settings.insecure)
        store = open_store(settings, stack)
        database = await open_database(settings, stack, stop)
        threads, asking = Threads(), Threads(1)
        stack.callback(threads.close)
        stack.callback(asking.close)
        flushes = Flushes()
        stack.push_async_callback(flushes.close)
        readiness = Readiness(Dependencies(store, database, asking).check)
        ledger = PackLedger(store, database, threads, flushes, wall_clock, seat=seat_of(settings.artifact_listen))

        await readiness.wait(stop)
        if stop.is_set():
            return
        await Recovery(database, store, threads).rebuild_if_new()
        await ledger.recover()

        grace_ms = settings.artifact_garbage_grace_seconds * 1000
        collection = Collection(database, store, ledger, threads, wall_clock, grace_ms=grace_ms)
        uploads = Uploads(database, flushes, wall_clock, lease_ms=settings.artifact_lease_seconds * 1000)
        reader = ChunkReader(store, database, threads)
        arrivals = Arrivals()
        files = Files(database, reader)
        service = ArtifactService(
            uploads=uploads,
            intakes=Intakes(database, ledger, uploads, flushes, threads, arrivals=arrivals),
            commits=Commits(database, ledger, reader, uploads, threads, arrivals=arrivals),
            files=files,
            direct=DirectReads(store, database, files, threads),
            references=References(database, ledger, threads),
            collection=collection,
            metrics=metrics,
        )
        server = GrpcServer(settings, settings.artifact_listen, metrics)
        server.add(SERVICE, partial(artifact_pb2_grpc.add_ArtifactServiceServicer_to_server, service))
        await server.start()
        gc.freeze()  # what is there now stays: looking through it again and again is 3 % of an upload's CPU
        stack.push_async_callback(server.stop)
        get_logger("artifact").info("listening", address=server.address, store=settings.artifact_store)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(readiness.watch(stop, server.set_serving))
            upkeep = tasks.create_task(Upkeep(collection, settings.artifact_garbage_interval_seconds).run())
            seat = tasks.create_task(Seat(ledger).run())
            await stop.wait()
            upkeep.cancel()
            seat.cancel()


def open_store(settings: ArtifactSettings, stack: AsyncExitStack) -> PackStore:
    """The store that `artifact_store` names. Raises INVALID_SETTINGS, or FailedPrecondition STORE_IN_USE."""
    url = settings.artifact_store
    store: PackStore
    if url.startswith("s3:"):
        # Importing minio takes a fifth of the time in which a service on a local store is back after a crash.
        from nnpm_artifact.s3_store import Bucket, S3Store  # noqa: PLC0415

        staging = settings.artifact_staging_dir
        if staging is None:
            staging = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nnpm-artifact-"))) / "staging"
        key, secret = settings.artifact_s3_access_key, settings.artifact_s3_secret_key.get_secret_value()
        bucket = Bucket.parse(url)
        store = S3Store(bucket, key, secret, staging, range_signer(settings, bucket))
    elif url.startswith("file:"):
        store = LocalStore(Path(unquote(urlsplit(url).path)))
    else:
        raise InvalidArgument(
            "INVALID_SETTINGS",
            f"NNPM_ARTIFACT_STORE {url!r} names no store",
            hint="file:///PATH or s3://BUCKET?endpoint=URL",
        )
    stack.callback(store.close)
    return store


def range_signer(settings: ArtifactSettings, bucket: "Bucket") -> RangeSigner | None:
    """Signs what clients read of the store themselves; None where they read through this service."""
    wanted = settings.artifact_direct_endpoint
    if wanted == "auto":
        wanted = "off" if settings.tls_cert and not bucket.secure else bucket.endpoint
    if wanted == "off":
        return None
    return RangeSigner(
        Endpoint.parse(wanted),
        bucket.name,
        bucket.region,
        settings.artifact_s3_access_key,
        settings.artifact_s3_secret_key.get_secret_value(),
        settings.artifact_direct_seconds,
    )


async def open_database(settings: ArtifactSettings, stack: AsyncExitStack, stop: asyncio.Event) -> Database:
    """The index, with this version's schema, once it is there. Raises FailedPrecondition DATABASE_TOO_NEW."""
    database = Database("artifact", settings.artifact_database_url, Path(__file__).with_name("migrations"))
    stack.callback(database.close)
    await database.migrate_when_there(stop)
    return database


if __name__ == "__main__":
    sys.exit(run_service("artifact", ArtifactSettings, serve))
