"""The scheduler's data path in the test's own process: real Redis, real gRPC, and workers that a test can kill.

A `HandWorker` speaks the dispatch protocol as a worker process does (own pending entries first, then new ones; XDEL,
XACK only after its replies were taken), but runs no model: it calls a function for each request.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import grpc.aio
import numpy as np
from opentelemetry.trace import Tracer
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference.pool import POOL
from nnpm.errors import NnpmError
from nnpm.queue import entry
from nnpm.queue.connection import connect
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm.queue.schedulers import LiveScheduler, SchedulerListing
from nnpm.rpc.server import GrpcServer
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.dispatch.admission import Admission
from nnpm_scheduler.dispatch.audit import Auditor
from nnpm_scheduler.dispatch.envelope import Envelope
from nnpm_scheduler.dispatch.inference import BARE_METHODS, SERVICE, InferenceService
from nnpm_scheduler.dispatch.inflight import Bounds, InFlight
from nnpm_scheduler.dispatch.janitor import Janitor
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute, Routes, RouteTable
from nnpm_scheduler.dispatch.statistics import BatchFigures, Statistics
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.transport_aio import AioTransport
from nnpm_scheduler.dispatch.turn import Dispatch, Reply

ECHO = Signature(inputs=(TensorSpec("x", "FP32", (-1, 3)),), outputs=(TensorSpec("y", "FP32", (-1, 3)),))
ROOMY = Bounds(total_bytes=64 << 20, source_bytes=64 << 20, calls=10_000)

Handle = Callable[[entry.Request, bytes], Awaitable[bytes | NnpmError]]


def revision(
    name: str = "acme-echo", number: int = 1, version: str = "1.0.0", *, ready: int = 1, batch: int = 16
) -> RevisionRoute:
    """A revision that echoes."""
    return RevisionRoute(
        id=f"{name}.{number}",
        number=number,
        version=version,
        digest="sha256:0",
        signature=ECHO,
        ready=ready,
        batch=batch,
    )


def table(*revisions: RevisionRoute, name: str = "acme-echo", package: str = "acme/echo") -> RouteTable:
    """A table with one deployment."""
    return RouteTable((DeploymentRoute(name, package, revisions),))


def echo_request(*rows: Sequence[float], model: str = "acme-echo", id: str = "", version: str = "") -> bytes:  # noqa: A002
    """A ModelInferRequest for the echo model."""
    array = np.array(rows or [[1, 2, 3]], dtype=np.float32)
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()


async def echo(request: entry.Request, body: bytes) -> bytes:
    """Answers with the input."""
    asked = pb.ModelInferRequest.FromString(body)
    answer = pb.ModelInferResponse(model_name=asked.model_name, model_version="1.0.0", id=asked.id)
    answer.outputs.add(name="y", datatype="FP32", shape=asked.inputs[0].shape)
    answer.raw_output_contents.append(asked.raw_input_contents[0])
    return answer.SerializeToString()


@dataclass
class Fleet:
    """The workers that have a Session, and what they were told."""

    incarnations: set[str] = field(default_factory=set)
    cancelled: list[int] = field(default_factory=list)

    def live(self) -> Collection[str]:
        """As `audit.Workers`."""
        return self.incarnations

    def cancel(self, revision: str, numbers: Sequence[int]) -> None:
        """As `audit.Workers`."""
        self.cancelled += numbers


@dataclass
class HandRepository:
    """Remembers what was loaded and unloaded."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    async def load(self, model: str) -> None:
        """As `inference.Repository`."""
        self.calls.append(("load", model))

    async def unload(self, model: str) -> None:
        """As `inference.Repository`."""
        self.calls.append(("unload", model))

    def ready(self) -> bool:
        """As `inference.Repository`."""
        return True


@dataclass
class Front:
    """A running data path."""

    redis: Redis
    routes: Routes
    inflight: InFlight
    statistics: Statistics
    dispatch: Dispatch
    stream: Stream
    fleet: Fleet
    repository: HandRepository
    metrics: Metrics
    address: str = ""

    async def infer(self, body: bytes, timeout: float | None = 10.0, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
        """ModelInfer as raw bytes, over a connection of its own."""
        async with self.channel() as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            return await call(body, timeout=timeout, metadata=tuple(metadata))

    def channel(self) -> grpc.aio.Channel:
        """A connection to the front door."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        return grpc.aio.insecure_channel(self.address, options=[*options, ("grpc.use_local_subchannel_pool", 1)])

    async def entries(self, revision_id: str = "acme-echo.1") -> int:
        """How many entries the stream holds."""
        return int(await self.redis.xlen(requests_key(revision_id)))

    async def at_rest(self, revision_id: str = "acme-echo.1") -> bool:
        """Nothing in flight, nothing in the stream, nothing in any worker's hands."""
        in_redis = await self.entries(revision_id) + await self.pending(revision_id)
        return not in_redis and not len(self.inflight) and not self.inflight.bytes

    async def only_the_living_are_consumers(self, revision_id: str = "acme-echo.1") -> bool:
        """No consumer without a Session."""
        consumers = await self.redis.xinfo_consumers(requests_key(revision_id), GROUP)
        return {consumer["name"].decode() for consumer in consumers} <= self.fleet.incarnations

    async def pending(self, revision_id: str = "acme-echo.1") -> int:
        """How many entries are in workers' hands."""
        try:
            return int((await self.redis.xpending(requests_key(revision_id), GROUP))["pending"])
        except ResponseError:
            return 0


@asynccontextmanager
async def running_front(
    redis_url: str,
    *,
    bounds: Bounds = ROOMY,
    default_timeout: float = 60.0,
    claim_above: int = 256 * 1024,
    settings: ServiceSettings | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[Front]:
    """Composed as the scheduler's __main__ does it, without control."""
    redis = connect(redis_url, answer_timeout=2.0)
    metrics, routes, statistics = Metrics(), Routes(), Statistics()
    inflight, fleet, repository = InFlight(bounds), Fleet(), HandRepository()
    admission = Admission(routes, inflight, default_timeout=default_timeout)
    dispatch = Dispatch(routes, inflight, admission, Meter(metrics, statistics))
    scheduler = LiveScheduler(secrets.token_hex(8), "unix:/nowhere")
    listing = SchedulerListing(redis, scheduler)
    stream = Stream(redis, listing, Envelope(scheduler.incarnation, scheduler.address, claim_above).encode, dispatch)
    transport = AioTransport(dispatch, CallTracer(tracer))
    dispatch.connect(stream=stream, transport=transport, workers=fleet)
    auditor = Auditor(redis, inflight, fleet, dispatch, dispatch.audit_wanted)
    janitor = Janitor(redis, scheduler.incarnation, routes, inflight, fleet, every=0.5)
    inference = InferenceService(routes, statistics, transport, repository, lambda: stream.open)
    server = GrpcServer(settings or ServiceSettings(), "127.0.0.1:0", metrics, pool=POOL, bare_methods=BARE_METHODS)
    server.add(SERVICE, inference.register)
    await server.start()
    routes.replace(table(revision()))
    front = Front(redis, routes, inflight, statistics, dispatch, stream, fleet, repository, metrics, server.address)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        running = [asyncio.create_task(work) for work in (stream.write(), stream.keep(), auditor.run(), janitor.run())]
        try:
            yield front
        finally:
            await server.stop(0)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


class HandWorker:
    """A worker by hand. `kill` leaves everything as a killed process does: Session gone, entries pending, no answer."""

    def __init__(self, front: Front, handle: Handle = echo, revision_id: str = "acme-echo.1") -> None:
        self.incarnation = secrets.token_hex(8)
        self.seen: list[entry.Request] = []
        self.suspects: list[int] = []
        self.refused = 0
        self._front = front
        self._handle = handle
        self._revision = revision_id
        self._key = requests_key(revision_id)
        self._redis = front.redis
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "HandWorker":
        self._front.fleet.incarnations.add(self.incarnation)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill(silently=True)

    async def kill(self, *, silently: bool = False) -> None:
        """Ends it with whatever it has in hand."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._front.fleet.incarnations.discard(self.incarnation)
        if not silently:
            self._front.dispatch.worker_lost(self.incarnation)

    async def _run(self) -> None:
        while True:
            try:
                await self._read("0")
                while await self._read(">"):
                    pass
            except ResponseError:
                await self._make_group()
            except (RedisError, OSError):
                await asyncio.sleep(0.05)

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(self._key, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read(self, since: str) -> bool:
        block = None if since == "0" else 200
        found = await self._redis.xreadgroup(GROUP, self.incarnation, {self._key: since}, count=4, block=block)
        for _, entries in found.items() if isinstance(found, dict) else found or []:
            rows = entries[0] if entries and isinstance(entries[0], list) else entries
            for entry_id, fields in rows:
                if fields:
                    await self._work(entry.decode(fields[FIELD.encode()]))
                await self._redis.xdel(self._key, entry_id)
                await self._redis.xack(self._key, GROUP, entry_id)
        return True

    async def _work(self, read: entry.Entry) -> None:
        if read.suspect:
            self.suspects += [request.number for request in read.requests]
        self.seen += read.requests
        replies = []
        for request in read.requests:
            if read.suspect and not self._front.dispatch.begin(self.incarnation, request.number, request.nonce):
                continue
            body = request.body
            if body is None:
                body = self._front.dispatch.payload(request.number, request.nonce)
            outcome = await self._handle(request, body)
            error = outcome if isinstance(outcome, NnpmError) else None
            replies.append(Reply(request.number, request.nonce, b"" if error else outcome, error))
        figures = BatchFigures(len(replies), len(replies), 1_000, 2_000, 3_000)
        taken = self._front.dispatch.deliver(self.incarnation, self._revision, replies, figures)
        self.refused += len(replies) - taken


def with_ready(route: RevisionRoute, ready: int) -> RevisionRoute:
    """The same revision with so many warm replicas."""
    return replace(route, ready=ready)
