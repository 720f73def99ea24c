"""The scheduler process, put together: `python -m nnpm_scheduler`."""

import asyncio
import secrets
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress

from opentelemetry import trace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.queue.connection import connect, wait_for_redis
from nnpm.queue.schedulers import LEASE, LiveScheduler, SchedulerListing
from nnpm.rpc.run import run_service
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.control.compose import Control, open_control
from nnpm_scheduler.dispatch.admission import Admission
from nnpm_scheduler.dispatch.audit import Auditor
from nnpm_scheduler.dispatch.envelope import Envelope
from nnpm_scheduler.dispatch.inference import InferenceService
from nnpm_scheduler.dispatch.inflight import Bounds, InFlight
from nnpm_scheduler.dispatch.janitor import Janitor
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.statistics import Statistics
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.transport_aio import AioTransport
from nnpm_scheduler.dispatch.turn import Dispatch
from nnpm_scheduler.listeners import Listeners
from nnpm_scheduler.settings import SchedulerSettings


async def serve(settings: SchedulerSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then drains."""
    metrics = Metrics()
    metrics.serve(settings.metrics_listen, insecure=settings.insecure)
    redis = connect(settings.redis_url, answer_timeout=LEASE)
    scheduler = LiveScheduler(secrets.token_hex(8), settings.mesh_advertise or settings.mesh_listen)

    routes, statistics = Routes(), Statistics()
    inflight = InFlight(_bounds(settings))
    admission = Admission(routes, inflight, default_timeout=settings.scheduler_timeout_seconds)
    dispatch = Dispatch(routes, inflight, admission, Meter(metrics, statistics))
    envelope = Envelope(scheduler.incarnation, scheduler.address, settings.scheduler_claim_bytes)
    listing = SchedulerListing(redis, scheduler)
    stream = Stream(redis, listing, envelope.encode, dispatch)
    tracer = trace.get_tracer("nnpm.dispatch") if settings.otlp_endpoint else None
    transport = AioTransport(dispatch, CallTracer(tracer))
    async with AsyncExitStack() as closing:
        closing.push_async_callback(redis.aclose)
        control = await open_control(
            scheduler=scheduler,
            redis=redis,
            database_url=settings.scheduler_database_url,
            registry_address=settings.registry_address,
            routes=routes,
            dispatch=dispatch,
            stop=stop,
            tls=settings.tls,
        )
        closing.push_async_callback(control.close)
        dispatch.connect(stream=stream, transport=transport, workers=control.workers)
        auditor = Auditor(redis, inflight, control.workers, dispatch, dispatch.audit_wanted)
        janitor = Janitor(redis, scheduler.incarnation, routes, inflight, control.workers)
        inference = InferenceService(routes, statistics, transport, control.repository, lambda: stream.open)
        listeners = Listeners(settings, metrics, inference, control)
        closing.push_async_callback(listeners.stop)
        await listeners.start()
        get_logger("scheduler").info("scheduler started", scheduler=scheduler.incarnation, **listeners.addresses())
        await _run(
            stop,
            grace=settings.shutdown_grace_seconds,
            redis=redis,
            stream=stream,
            watching=(auditor.run, janitor.run),
            control=control,
            dispatch=dispatch,
            listeners=listeners,
        )
        with suppress(RedisError, OSError):
            await listing.leave()


async def _run(
    stop: asyncio.Event,
    *,
    grace: float,
    redis: Redis,
    stream: Stream,
    watching: Sequence[Callable[[], Coroutine[None, None, None]]],
    control: Control,
    dispatch: Dispatch,
    listeners: Listeners,
) -> None:
    """Everything that goes on at the same time, until `stop`; then the way down, clients before workers."""
    control_stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in (_queue(redis, stream, stop), *(watch() for watch in watching))]
        readiness = tasks.create_task(listeners.show_readiness())
        controlling = tasks.create_task(control.run(control_stop))
        await stop.wait()
        readiness.cancel()
        await listeners.refuse()
        await dispatch.drain(grace)
        await listeners.stop_clients()
        control_stop.set()
        await controlling
        for task in running:
            task.cancel()


async def _queue(redis: Redis, stream: Stream, stop: asyncio.Event) -> None:
    """The queue's connection: nothing is written to a Redis before it was found fit."""
    if not await wait_for_redis(redis, stop):
        return
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.write())
        tasks.create_task(stream.keep())


def _bounds(settings: SchedulerSettings) -> Bounds:
    return Bounds(
        total_bytes=settings.scheduler_memory_bytes,
        source_bytes=settings.scheduler_connection_bytes,
        calls=settings.scheduler_calls,
    )


if __name__ == "__main__":
    sys.exit(run_service("scheduler", SchedulerSettings, serve))
