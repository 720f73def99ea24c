"""The scheduler process, put together: `python -m nnpm_scheduler`."""

import asyncio
import secrets
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from random import SystemRandom
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.errors import FailedPrecondition
from nnpm.queue.connection import connect, wait_for_redis
from nnpm.queue.schedulers import LEASE, LiveScheduler, SchedulerListing
from nnpm.rpc.run import run_service
from nnpm.telemetry import traces
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_scheduler.control.compose import Control, open_control
from nnpm_scheduler.dispatch.audit import Auditor
from nnpm_scheduler.dispatch.boarding import Limits
from nnpm_scheduler.dispatch.call import metadata_keys
from nnpm_scheduler.dispatch.envelope import Envelope
from nnpm_scheduler.dispatch.held import Bounds, Held
from nnpm_scheduler.dispatch.inference import InferenceService
from nnpm_scheduler.dispatch.inflight import InFlight
from nnpm_scheduler.dispatch.janitor import Janitor
from nnpm_scheduler.dispatch.ledger import Ledger
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.quotas import Quotas, read_quotas
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.sharing import Sharing, read_weights
from nnpm_scheduler.dispatch.statistics import Statistics
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.transport_aio import AioTransport
from nnpm_scheduler.dispatch.transport_native import NativeTransport, open_front
from nnpm_scheduler.dispatch.turn import Dispatch
from nnpm_scheduler.listeners import Listeners
from nnpm_scheduler.settings import SchedulerSettings

if TYPE_CHECKING:
    from nnpm_wire import Front


async def serve(settings: SchedulerSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then drains."""
    metrics = Metrics()
    metrics.serve(settings.metrics_listen, insecure=settings.insecure)
    redis = connect(settings.redis_url, answer_timeout=LEASE)
    scheduler = LiveScheduler(secrets.token_hex(8), settings.mesh_advertise or settings.mesh_listen)

    routes, statistics = Routes(), Statistics()
    inflight = InFlight()
    provider = _spans(settings)
    tracer = CallTracer(
        provider.get_tracer("nnpm.dispatch") if provider else None,
        settings.trace_sample_ratio,
        SystemRandom(),
        settings.trace_samples_per_second,
    )
    sharing = Sharing(settings.scheduler_ageing_seconds, read_weights(settings.scheduler_tenant_weights))
    limits = Limits(settings.scheduler_timeout_seconds, settings.scheduler_claim_bytes, sharing)
    quotas = Quotas(read_quotas(settings.scheduler_tenant_quotas), closed=settings.scheduler_quota_failure == "closed")
    dispatch = Dispatch(routes, inflight, Meter(metrics, statistics), tracer, limits, quotas=quotas)
    envelope = Envelope(scheduler.incarnation, scheduler.address, settings.scheduler_claim_bytes)
    listing = SchedulerListing(redis, scheduler)
    stream = Stream(redis, listing, envelope.encode, dispatch)
    transport = AioTransport(dispatch, Held(_bounds(settings)), _keys(settings))
    front = _front(settings, scheduler.incarnation)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(redis.aclose)
        if provider is not None:
            closing.callback(traces.end, provider)
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
        dispatch.connect(stream=stream, workers=control.workers)
        auditor = Auditor(redis, inflight, control.workers, dispatch, dispatch.audit_wanted)
        janitor = Janitor(redis, scheduler.incarnation, routes, inflight, control.workers)
        inference = InferenceService(routes, statistics, transport, control.repository, lambda: stream.open)
        if front is not None:
            closing.callback(NativeTransport(front, dispatch).close)
        listeners = Listeners(settings, metrics, inference, control, front)
        closing.push_async_callback(listeners.stop)
        await listeners.start()
        get_logger("scheduler").info(
            "scheduler started",
            scheduler=scheduler.incarnation,
            transport="grpc" if front is None else "native",
            **listeners.addresses(),
        )
        await _run(
            stop,
            grace=settings.shutdown_grace_seconds,
            redis=redis,
            stream=stream,
            watching=(auditor.run, janitor.run, Ledger(redis, scheduler.incarnation, quotas).run),
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
    if await wait_for_redis(redis, stop):
        await stream.keep()


def _front(settings: SchedulerSettings, scheduler: str) -> "Front | None":
    """The native transport, as far as it is wanted and there."""
    if settings.transport == "grpc":
        return None
    try:
        return open_front(scheduler, _bounds(settings), settings.max_message_bytes, _keys(settings))
    except ImportError as error:
        if settings.transport == "native":
            raise FailedPrecondition(
                "TRANSPORT_NOT_INSTALLED",
                f"the native transport is not usable here: {error}",
                hint="build it with scripts/native, or leave NNPM_TRANSPORT at auto",
            ) from error
        return None


def _spans(settings: SchedulerSettings) -> TracerProvider | None:
    """Where the spans of calls go: the dispatch path decides itself which calls are sampled."""
    if not settings.otlp_endpoint:
        return None
    return traces.open_provider("nnpm-scheduler", settings.otlp_endpoint, ALWAYS_ON)


def _keys(settings: SchedulerSettings) -> tuple[str, ...]:
    return metadata_keys(settings.scheduler_priority_key, settings.scheduler_tenant_key)


def _bounds(settings: SchedulerSettings) -> Bounds:
    return Bounds(
        total_bytes=settings.scheduler_memory_bytes,
        source_bytes=settings.scheduler_connection_bytes,
        calls=settings.scheduler_calls,
    )


if __name__ == "__main__":
    sys.exit(run_service("scheduler", SchedulerSettings, serve))
