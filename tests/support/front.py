"""The scheduler's data path in the test's own process: real Redis, real gRPC, and workers that a test can kill.

A `HandWorker` speaks the dispatch protocol as a worker process does (own pending entries first, then new ones; XDEL,
XACK only after its replies were taken), but runs no model: it calls a function for each request.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from math import prod
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import grpc.aio
import numpy as np
from opentelemetry.trace import Tracer
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference.pool import POOL
from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceStub, add_WorkerServiceServicer_to_server
from nnpm.errors import NnpmError
from nnpm.queue import entry
from nnpm.queue.connection import connect
from nnpm.queue.keys import FIELD, GROUP, requests_key
from nnpm.queue.schedulers import LiveScheduler, SchedulerListing
from nnpm.rpc.server import GrpcServer
from nnpm.rpc.status import from_call, to_status
from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics
from nnpm.tensors.elements import ELEMENTS
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.failures import LoadFailures
from nnpm_scheduler.control.fleet import Fleet as ControlFleet
from nnpm_scheduler.control.service_workers import SERVICE as WORKER_SERVICE
from nnpm_scheduler.control.service_workers import WorkerService
from nnpm_scheduler.control.sessions import Sessions
from nnpm_scheduler.dispatch.audit import Auditor
from nnpm_scheduler.dispatch.boarding import Limits
from nnpm_scheduler.dispatch.envelope import Envelope
from nnpm_scheduler.dispatch.held import Bounds, Held
from nnpm_scheduler.dispatch.inference import BARE_METHODS, SERVICE, InferenceService
from nnpm_scheduler.dispatch.inflight import InFlight
from nnpm_scheduler.dispatch.janitor import Janitor
from nnpm_scheduler.dispatch.ledger import Ledger
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.quotas import ANY, Quota, Quotas
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute, Routes, RouteTable
from nnpm_scheduler.dispatch.statistics import Statistics
from nnpm_scheduler.dispatch.stream import Stream
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.transport_aio import AioTransport
from nnpm_scheduler.dispatch.transport_native import NativeTransport, open_front
from nnpm_scheduler.dispatch.turn import Dispatch
from support.waiting import eventually

if TYPE_CHECKING:
    from nnpm_wire import Front as NativeFront

ECHO = Signature(inputs=(TensorSpec("x", "FP32", (-1, 3)),), outputs=(TensorSpec("y", "FP32", (-1, 3)),))
ROOMY = Bounds(total_bytes=64 << 20, source_bytes=64 << 20, calls=10_000)


def revision(
    name: str = "acme-echo",
    number: int = 1,
    version: str = "1.0.0",
    *,
    ready: int = 1,
    batch: int = 16,
    quota: Quota = ANY,
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
        deployment=name,
        quota=quota,
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


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a block, as a worker sees it. `claimed`: its bytes had to be fetched from the scheduler."""

    number: int
    nonce: int
    deadline_ns: int
    admitted_ns: int
    traceparent: str
    layout: entry.Layout | None
    raw: tuple[bytes, ...]
    body: bytes
    claimed: int

    def parsed(self) -> pb.ModelInferRequest:
        """The request as its client made it, but for its id."""
        if self.layout is None:
            return pb.ModelInferRequest.FromString(self.body)
        request = pb.ModelInferRequest(model_name=self.layout.model_name, raw_input_contents=self.raw)
        for spec in self.layout.inputs:
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return request

    @property
    def first(self) -> float:
        """The first element of the first input: tests tell requests apart by it, since ids do not travel."""
        return float(np.frombuffer(self.parsed().raw_input_contents[0], np.float32)[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply without its id: see `Reply` in worker.proto."""

    head: bytes
    raw: tuple[bytes, ...] = ()


Handle = Callable[[Asked], Awaitable[Answer | NnpmError]]


async def echo(asked: Asked) -> Answer:
    """Answers with the input."""
    request = asked.parsed()
    head = pb.ModelInferResponse(model_name=request.model_name, model_version="1.0.0")
    head.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
    return Answer(head.SerializeToString(), (request.raw_input_contents[0],))


async def never(asked: Asked) -> Answer:
    """Has the request in hand for ever."""
    await asyncio.Event().wait()
    return await echo(asked)


@dataclass
class Fleet:
    """The workers that have a Session, and what they were told."""

    incarnations: set[str] = field(default_factory=set)
    lost_just_now: set[str] = field(default_factory=set)
    cancelled: list[int] = field(default_factory=list)

    def live(self) -> Collection[str]:
        """As `audit.Workers`."""
        return self.incarnations

    def away(self, worker: str) -> float:
        """As `audit.Workers`."""
        return 0.0 if worker in self.lost_just_now else float("inf")

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
    """A running data path. `mesh` is where workers deliver; `held` tells how many bytes of requests are held."""

    redis: Redis
    routes: Routes
    inflight: InFlight
    statistics: Statistics
    dispatch: Dispatch
    stream: Stream
    fleet: Fleet
    repository: HandRepository
    metrics: Metrics
    scheduler: str
    held: Callable[[], int]
    address: str = ""
    mesh: str = ""

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

    def calls(self) -> int:
        """How many calls are in flight."""
        flights = [each for revision in self.inflight.revisions() for each in self.inflight.of_revision(revision)]
        return sum(flight.live for flight in flights)

    async def redeem(self, number: int, nonce: int) -> bytes:
        """RedeemPayload, as a worker asks for it."""
        async with grpc.aio.insecure_channel(self.mesh) as channel:
            return await redeem(WorkerServiceStub(channel), number, nonce)

    async def at_rest(self, revision_id: str = "acme-echo.1") -> bool:
        """Nothing in flight, nothing in the stream, nothing in any worker's hands, and every book is balanced."""
        in_redis = await self.entries(revision_id) + await self.pending(revision_id)
        return not in_redis and not self.held() and self.is_balanced()

    def is_balanced(self) -> bool:
        """Tables are empty, windows are closed, and the gauge is at zero."""
        tables = self.inflight
        left = (len(tables), len(tables.entries()), len(list(tables.revisions())))
        windows = self.dispatch._queues._windows.values()
        out = [(window._out, window._suspects_out, bool(window)) for window in windows]
        gauge = self.metrics.registry.get_sample_value("nnpm_in_flight_calls")
        return left == (0, 0, 0) and all(each == (0, 0, False) for each in out) and gauge == 0

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


async def redeem(stub: WorkerServiceStub, number: int, nonce: int) -> bytes:
    """A claimed request's bytes. Raises NnpmError."""
    try:
        pieces = stub.RedeemPayload(wire.RedeemPayloadRequest(number=number, nonce=nonce), timeout=10)
        return b"".join([piece.data async for piece in pieces])
    except grpc.aio.AioRpcError as error:
        raise from_call(error) from None


@asynccontextmanager
async def running_front(
    redis_url: str,
    *,
    bounds: Bounds = ROOMY,
    default_timeout: float = 60.0,
    claim_above: int = 256 * 1024,
    settings: ServiceSettings | None = None,
    tracer: Tracer | None = None,
    sample_ratio: float = 0.0,
    quotas: Quotas | None = None,
) -> AsyncIterator[Front]:
    """Composed as the scheduler's __main__ does it, without control; NNPM_TRANSPORT chooses the transport."""
    settings = settings or ServiceSettings()
    redis = connect(redis_url, answer_timeout=2.0)
    metrics, routes, statistics = Metrics(), Routes(), Statistics()
    inflight, fleet, repository = InFlight(), Fleet(), HandRepository()
    tracing = CallTracer(tracer, sample_ratio, Random(1))
    limits = Limits(default_timeout, claim_above)
    scheduler = LiveScheduler(secrets.token_hex(8), "unix:/nowhere")
    quotas = quotas or Quotas()
    dispatch = Dispatch(routes, inflight, Meter(metrics, statistics), tracing, limits, quotas=quotas)
    ledger = Ledger(redis, scheduler.incarnation, quotas)
    listing = SchedulerListing(redis, scheduler)
    envelope = Envelope(scheduler.incarnation, scheduler.address, claim_above)
    stream = Stream(redis, listing, envelope.encode, dispatch)
    held = Held(bounds)
    transport = AioTransport(dispatch, held)
    dispatch.connect(stream=stream, workers=fleet)
    auditor = Auditor(redis, inflight, fleet, dispatch, dispatch.audit_wanted)
    janitor = Janitor(redis, scheduler.incarnation, routes, inflight, fleet, every=0.5)
    inference = InferenceService(routes, statistics, transport, repository, lambda: stream.open)
    sessions = Sessions(ControlFleet(Changes()), LoadFailures(), dispatch)
    workers = WorkerService(scheduler, sessions, ControlFleet(Changes()), dispatch, redis)
    front = Front(
        redis,
        routes,
        inflight,
        statistics,
        dispatch,
        stream,
        fleet,
        repository,
        metrics,
        scheduler.incarnation,
        lambda: held.bytes,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        native = _native(settings, bounds, scheduler.incarnation)
        folder = stack.enter_context(TemporaryDirectory())
        listen = {role: f"unix:{folder}/{role}" if native else "127.0.0.1:0" for role in ("data", "mesh")}
        data = GrpcServer(settings, listen["data"], metrics, pool=POOL, bare_methods=BARE_METHODS)
        data.add(SERVICE, inference.register)
        mesh = GrpcServer(settings, listen["mesh"], metrics)
        mesh.add(WORKER_SERVICE, lambda server: add_WorkerServiceServicer_to_server(workers, server))
        for server in (mesh, data):
            await server.start()
            stack.push_async_callback(server.stop, 0)
        front.address, front.mesh = data.address, mesh.address
        if native is not None:
            stack.callback(NativeTransport(native, dispatch).close)
            front.address = native.listen("127.0.0.1:0", upstream=f"{folder}/data", role="data", tls=None)
            front.mesh = native.listen("127.0.0.1:0", upstream=f"{folder}/mesh", role="mesh", tls=None)
            front.held = lambda: native.bytes_held
        routes.replace(table(revision()))
        running = [asyncio.create_task(work) for work in (stream.keep(), auditor.run(), janitor.run(), ledger.run())]
        try:
            await eventually(lambda: stream.open)
            yield front
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _native(settings: ServiceSettings, bounds: Bounds, scheduler: str) -> "NativeFront | None":
    return open_front(scheduler, bounds, settings.max_message_bytes) if settings.transport == "native" else None


class HandWorker:
    """A worker by hand. `kill` leaves everything as a killed process does: Session gone, entries pending, no answer.

    `entries` are what it read, `seen` the requests in them, `refused` how many of its replies nobody waited for;
    `run_ns` is what it says of how long a run takes.
    """

    def __init__(self, front: Front, handle: Handle = echo, revision_id: str = "acme-echo.1") -> None:
        self.incarnation = secrets.token_hex(8)
        self.entries: list[entry.Entry] = []
        self.seen: list[Asked] = []
        self.suspects: list[int] = []
        self.refused = 0
        self.handle = handle
        self.run_ns = 2_000
        self._front = front
        self._revision = revision_id
        self._key = requests_key(revision_id)
        self._redis = front.redis
        self._decoder = entry.Decoder()
        self._channel = grpc.aio.insecure_channel(front.mesh, options=[("grpc.use_local_subchannel_pool", 1)])
        self._mesh = WorkerServiceStub(self._channel)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "HandWorker":
        self._front.fleet.incarnations.add(self.incarnation)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill(silently=True)
        await self._channel.close()

    async def kill(self, *, silently: bool = False) -> None:
        """Ends it with whatever it has in hand."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._front.fleet.incarnations.discard(self.incarnation)
        if not silently:
            self._front.dispatch.worker_lost()

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
                    await self._work(entry_id, self._decoder.decode(fields[FIELD.encode()]))
                await self._redis.xdel(self._key, entry_id)
                await self._redis.xack(self._key, GROUP, entry_id)
        return True

    async def _work(self, entry_id: bytes, read: entry.Entry) -> None:
        self.entries.append(read)
        asked = [(block, await self._asked(block)) for block in read.blocks]
        if read.suspect:
            self.suspects += [one.number for _, block in asked for one in block]
        self.seen += [one for _, block in asked for one in block]
        replies: list[wire.Reply] = []
        for block, requests in asked:
            for one in requests:
                if not read.suspect or self._front.dispatch.begin(self.incarnation, one.number, one.nonce, entry_id):
                    _add_reply(replies, block, one.number - block.number, await self.handle(one))
        await self._deliver(replies)

    async def _asked(self, block: entry.Block) -> list[Asked]:
        raw, body = list(block.raw), block.body
        if block.claim_size:
            try:
                body = await redeem(self._mesh, block.number, block.nonce)
            except NnpmError:
                return []
            if block.layout is not None:
                assert len(body) == block.claim_size == block.layout.size
                raw, body = _cut(body, block.layout), b""
        return [
            Asked(
                block.number + offset,
                block.nonce,
                block.deadline_ns,
                block.admitted_ns,
                block.traceparent,
                block.layout,
                tuple(_part(data, offset, block.count) for data in raw),
                body,
                block.claim_size,
            )
            for offset in range(block.count)
            if offset not in block.ended
        ]

    async def _deliver(self, replies: list[wire.Reply]) -> None:
        requests = sum(reply.count for reply in replies)
        figures = wire.BatchFigures(
            requests=requests,
            rows=requests,
            compute_input_ns=1_000,
            compute_infer_ns=self.run_ns,
            compute_output_ns=3_000,
        )
        answer = await self._mesh.Deliver(
            wire.DeliverRequest(
                worker=self.incarnation,
                scheduler=self._front.scheduler,
                revision=self._revision,
                replies=replies,
                figures=figures,
            ),
            timeout=10,
        )
        self.refused += requests - answer.completed


def _part(data: bytes, offset: int, count: int) -> bytes:
    size = len(data) // count
    return data[offset * size : (offset + 1) * size]


def _cut(data: bytes, layout: entry.Layout) -> list[bytes]:
    """A claim's bytes, by input."""
    raw, at = [], 0
    for spec in layout.inputs:
        size = ELEMENTS[spec.datatype].size * prod(spec.shape)
        raw.append(data[at : at + size])
        at += size
    return raw


def _add_reply(replies: list[wire.Reply], block: entry.Block, offset: int, answer: Answer | NnpmError) -> None:
    """Answers that say the same but for their bytes travel in one reply, one behind the other."""
    if isinstance(answer, NnpmError):
        status = to_status(answer)
        replies.append(wire.Reply(number=block.number, nonce=block.nonce, offset=offset, count=1, status=status))
        return
    last = replies[-1] if replies else wire.Reply()
    sizes = [len(data) for data in answer.raw]
    follows = last.number == block.number and last.offset + last.count == offset and last.head == answer.head
    if follows and sizes == [len(data) // last.count for data in last.raw]:
        last.count += 1
        for index, data in enumerate(answer.raw):
            last.raw[index] += data
        return
    replies.append(
        wire.Reply(
            number=block.number,
            nonce=block.nonce,
            offset=offset,
            count=1,
            head=answer.head,
            raw=answer.raw,
            final=True,
        )
    )


def with_ready(route: RevisionRoute, ready: int) -> RevisionRoute:
    """The same revision with so many warm replicas."""
    return replace(route, ready=ready)
