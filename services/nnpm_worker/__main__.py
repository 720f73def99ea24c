"""Composes an inference worker and runs it: `python -m nnpm_worker`."""

import asyncio
import os
import secrets
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc.aio
from opentelemetry import trace
from redis.asyncio import Redis

from nnpm.errors import Unavailable
from nnpm.queue.connection import connect, wait_for_redis
from nnpm.queue.schedulers import LEASE
from nnpm.rpc.channels import open_channel
from nnpm.rpc.run import run_service
from nnpm.rpc.server import GrpcServer
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_worker import memory
from nnpm_worker.artifacts import Artifacts
from nnpm_worker.cache import Cache
from nnpm_worker.callers import open_caller
from nnpm_worker.commands import WorkerCommands
from nnpm_worker.deliver import Deliverer
from nnpm_worker.hands import Hands
from nnpm_worker.intake import Intake
from nnpm_worker.links import Links
from nnpm_worker.models import Models, Traffic
from nnpm_worker.packages import Packages
from nnpm_worker.plugins import Runtimes
from nnpm_worker.reading import Reading, Voice
from nnpm_worker.replica import LoadLimits
from nnpm_worker.schedulers import Schedulers
from nnpm_worker.serving import Serving
from nnpm_worker.session import Session, WorkerFacts
from nnpm_worker.settings import WorkerSettings
from nnpm_worker.spans import BatchSpans
from nnpm_worker.watchdog import Watchdog

if TYPE_CHECKING:
    # Typing only: the generated module has one stub class for both kinds of channel.
    from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceAsyncStub

_HEALTH_SECONDS = 0.1
_CLOSE_SECONDS = 1.0

_SWITCH_SECONDS = 0.0005
"""For so long a thread that comes back from a run may be kept waiting for the interpreter lock; 5 ms by default."""

_log = get_logger("worker")


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Run a worker until `stop` is set, then drain it."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    incarnation = secrets.token_hex(8)
    metrics = Metrics()
    metrics.serve(settings.metrics_listen, insecure=settings.insecure)
    health = GrpcServer(settings, settings.worker_listen, metrics) if settings.worker_listen else None
    if health is not None:
        await health.start()
    redis = connect(settings.redis_url)
    artifact_channel = open_channel(
        settings.artifact_address, tls=settings.tls, max_message_bytes=settings.max_message_bytes
    )
    try:
        if await wait_for_redis(redis, stop):
            worker = _Worker(settings, incarnation, metrics, redis, artifact_channel)
            await worker.run(stop, health)
    finally:
        if health is not None:
            await health.stop(0)
        await artifact_channel.close()
        await redis.aclose()


class _Worker:
    """The parts of one worker, put together."""

    def __init__(
        self,
        settings: WorkerSettings,
        incarnation: str,
        metrics: Metrics,
        redis: Redis,
        artifact_channel: grpc.aio.Channel,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._hands = Hands()
        self._watchdog = Watchdog(settings.worker_run_seconds)
        self._schedulers = Schedulers(LEASE)
        self._links = Links(redis, self._schedulers, self._mesh_channel)
        self._caller = open_caller(settings, self._links.channel_at)
        self._serving = self._compose_serving(incarnation)
        self._reading = self._compose_reading(incarnation, redis)
        runtimes = Runtimes(settings.runtime_options)
        memory_bytes = settings.worker_memory_bytes or memory.available_bytes() * 8 // 10
        self._models = self._compose_models(artifact_channel, runtimes, memory_bytes)
        self._commands = WorkerCommands(self._models, self._hands, self._reading, self._schedulers, self._changed)
        self._facts = _facts(settings, incarnation, memory_bytes, runtimes)

    def _compose_serving(self, incarnation: str) -> Serving:
        return Serving(
            hands=self._hands,
            deliverer=Deliverer(
                incarnation, self._caller, lambda to: self._schedulers.is_gone(to.scheduler, to.address)
            ),
            begin=self._begin,
            spans=BatchSpans(trace.get_tracer("nnpm_worker"), self._settings.worker_name),
            metrics=self._metrics,
            watchdog=self._watchdog,
        )

    def _compose_reading(self, incarnation: str, redis: Redis) -> Reading:
        return Reading(
            redis=redis,
            consumer=incarnation,
            hands=self._hands,
            intake=Intake(self._hands, self._clock_offset_ns, self._schedulers.is_gone),
            serving=self._serving,
            voice=Voice(self._schedulers.may_read, self._beat, self._links.drained),
            changed=self._changed,
            lease=LEASE,
        )

    def _compose_models(self, artifact_channel: grpc.aio.Channel, runtimes: Runtimes, memory_bytes: int) -> Models:
        settings = self._settings
        cache = Cache(settings.worker_cache_dir, settings.worker_cache_bytes)
        return Models(
            packages=Packages(cache, Artifacts(artifact_channel), self._metrics),
            runtimes=runtimes,
            limits=LoadLimits(settings.worker_batch_rows, settings.max_message_bytes, settings.worker_probe_seconds),
            memory_bytes=memory_bytes,
            traffic=Traffic(self._reading.join, self._reading.leave),
            tell=self._links.tell,
            count=self._metrics.loaded_models.set,
        )

    def _open_session(self, address: str, service: "WorkerServiceAsyncStub") -> Session:
        return Session(address, service, self._facts, self._commands, lease=LEASE)

    async def _begin(self, scheduler: str, number: int, nonce: int, entry: bytes) -> bool:
        session = self._links.session_with(scheduler)
        if session is None:
            raise Unavailable("SERVER_UNREACHABLE", "there is no Session with the scheduler")
        return await session.begin(number, nonce, entry)

    def _clock_offset_ns(self, scheduler: str) -> int | None:
        session = self._links.session_with(scheduler)
        return session.clock_offset_ns if session else None

    def _beat(self, in_hand: int) -> None:
        self._watchdog.check()
        self._metrics.in_flight.set(in_hand)
        self._links.beat(in_hand, self._models.used_bytes)

    async def run(self, stop: asyncio.Event, health: GrpcServer | None) -> None:
        async with asyncio.TaskGroup() as group:
            links = group.create_task(self._links.run(self._open_session))
            reading = group.create_task(self._reading.run())
            reports = group.create_task(self._report_health(health))
            await stop.wait()
            self._reading.stop()
            try:
                async with asyncio.timeout(self._settings.shutdown_grace_seconds):
                    await asyncio.shield(reading)
                    await self._links.written()
                    await self._reading.leave_all()
            except TimeoutError:
                _log.warning("not everything in hand could be finished; its schedulers will take it back")
                reading.cancel()
            self._serving.close()
            with suppress(TimeoutError):  # a run that goes on holds its model; its thread ends with the process
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._models.close()
            links.cancel()
            reports.cancel()
        self._caller.close()
        self._watchdog.close()

    async def _report_health(self, health: GrpcServer | None) -> None:
        """Ready: Redis is in reach, and there is a Session with every scheduler that is listed."""
        while health is not None:
            await health.set_serving(self._reading.connected and self._schedulers.may_read())
            await asyncio.sleep(_HEALTH_SECONDS)

    def _mesh_channel(self, address: str) -> grpc.aio.Channel:
        tls = None if address.startswith("unix:") else self._settings.tls
        return open_channel(
            address, tls=tls, max_message_bytes=self._settings.max_message_bytes, timeout=5.0, retries=False
        )


def _facts(settings: WorkerSettings, incarnation: str, memory_bytes: int, runtimes: Runtimes) -> WorkerFacts:
    providers: list[str] = []
    for name in runtimes.usable:
        providers += [provider for provider in runtimes.get(name).providers if provider not in providers]
    return WorkerFacts(
        incarnation=incarnation,
        name=settings.worker_name,
        memory_bytes=memory_bytes,
        cores=len(os.sched_getaffinity(0)),
        providers=tuple(providers),
        runtimes=runtimes.usable,
    )


if __name__ == "__main__":
    sys.exit(run_service("worker", WorkerSettings, serve))
