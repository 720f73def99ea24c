"""`nnpm.api.worker.v1.WorkerService`: the mesh listener's servicer. Translates, delegates, translates back."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any, Protocol, cast

import grpc.aio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.api.worker.v1 import worker_pb2, worker_pb2_grpc
from nnpm.errors import DeadlineExceeded, InvalidArgument
from nnpm.queue.schedulers import LiveScheduler, live_schedulers
from nnpm_scheduler.control.fleet import Fleet
from nnpm_scheduler.control.sessions import LEASE, SILENCE, BeginVerdict, Dispatch, Sessions
from nnpm_scheduler.control.sessions import Session as OpenSession
from nnpm_scheduler.control.worker_messages import facts_of, message_of, replicas_of, report_of
from nnpm_scheduler.dispatch.refusals import scheduler_changed
from nnpm_scheduler.dispatch.replies import Reply
from nnpm_scheduler.dispatch.statistics import BatchFigures

SERVICE = "nnpm.api.worker.v1.WorkerService"

HELLO_WITHIN = 5.0
"""Seconds that a new Session has for its Hello."""

PIECE = 1 << 20
"""Bytes of a claimed body in one message."""

Context = grpc.aio.ServicerContext[Any, Any]


class Inflight(Dispatch, Protocol):
    """The dispatch path, as workers reach it."""

    def deliver(self, revision: str, replies: Sequence[Reply], figures: BatchFigures) -> int:
        """Answers calls; returns how many were still wanted."""
        ...

    def payload(self, number: int, nonce: int) -> bytes:
        """Raises NotFound CLAIM_NOT_FOUND."""
        ...

    def begin(self, worker: str, number: int, nonce: int, entry: bytes) -> bool:
        """Whether a suspect may run, out of that entry."""
        ...


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """What this scheduler process says to workers, and hears from them."""

    def __init__(
        self, scheduler: LiveScheduler, sessions: Sessions, fleet: Fleet, dispatch: Inflight, redis: Redis
    ) -> None:
        self._scheduler = scheduler
        self._sessions = sessions
        self._fleet = fleet
        self._dispatch = dispatch
        self._redis = redis

    async def Session(
        self, request_iterator: AsyncIterator[worker_pb2.SessionRequest], context: Context
    ) -> AsyncIterator[worker_pb2.SessionResponse]:
        """A worker's life: Hello, Welcome, then each says what it has to say, until one of them is gone."""
        hello = await self._hello(request_iterator)
        session = self._sessions.open(facts_of(hello), replicas_of(hello.models))

        def ended(_context: object) -> None:
            """Not only `finally` below: a generator that is cut off between two messages runs it late."""
            self._sessions.lost(session)

        context.add_done_callback(cast("Any", ended))  # grpc's stubs take the callback's type for its instance
        listening = asyncio.create_task(self._listen(session, request_iterator))
        listening.add_done_callback(lambda _task: session.close())
        try:
            yield self._welcome()
            yield await self._peers()
            beat = time.monotonic()
            while not session.closed:
                command = await session.next_command(beat + LEASE / 2 - time.monotonic())
                if command is not None:
                    yield message_of(command)
                if time.monotonic() - beat >= LEASE / 2:
                    beat = time.monotonic()
                    yield self._heartbeat()
            if listening.done():
                await listening
        finally:
            self._sessions.lost(session)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def Deliver(self, request: worker_pb2.DeliverRequest, context: Context) -> worker_pb2.DeliverResponse:
        """One batch's replies. (With the native transport they never come here.)"""
        if request.scheduler != self._scheduler.incarnation:
            raise scheduler_changed(self._scheduler.incarnation)
        figures = request.figures
        completed = self._dispatch.deliver(
            request.revision,
            [_reply(reply) for reply in request.replies],
            BatchFigures(
                requests=figures.requests,
                rows=figures.rows,
                compute_input_ns=figures.compute_input_ns,
                compute_infer_ns=figures.compute_infer_ns,
                compute_output_ns=figures.compute_output_ns,
            ),
        )
        return worker_pb2.DeliverResponse(completed=completed)

    async def RedeemPayload(
        self, request: worker_pb2.RedeemPayloadRequest, context: Context
    ) -> AsyncIterator[worker_pb2.RedeemPayloadResponse]:
        """The body of a claimed request."""
        body = memoryview(self._dispatch.payload(request.number, request.nonce))
        for start in range(0, len(body), PIECE):
            yield worker_pb2.RedeemPayloadResponse(data=bytes(body[start : start + PIECE]))

    async def _hello(self, requests: AsyncIterator[worker_pb2.SessionRequest]) -> worker_pb2.Hello:
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise DeadlineExceeded("HELLO_MISSING", "the Session's first message did not come") from None
        if not first.HasField("hello") or not first.hello.incarnation:
            raise InvalidArgument("HELLO_MISSING", "a Session begins with Hello, which names the worker's incarnation")
        return first.hello

    async def _listen(self, session: OpenSession, requests: AsyncIterator[worker_pb2.SessionRequest]) -> None:
        """Takes in what the worker says until its side of the stream ends, or it is silent for too long."""
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    request = await anext(requests)
            except StopAsyncIteration:
                return
            except TimeoutError:
                # Not left to the stream's end: towards a frozen process a stream may hang in a write.
                self._sessions.lost(session)
                raise DeadlineExceeded("WORKER_SILENT", f"nothing was heard from the worker for {SILENCE} s") from None
            match request.WhichOneof("message"):
                case "heartbeat":
                    self._fleet.heard(session.incarnation, request.heartbeat.used_memory_bytes)
                case "model_status":
                    self._sessions.report(session, report_of(request.model_status))
                case "begin":
                    begin = request.begin
                    wanted = self._dispatch.begin(session.incarnation, begin.number, begin.nonce, begin.entry)
                    session.send(BeginVerdict(begin.number, wanted))
                case "drained":
                    self._sessions.leaving(session)
                case _:
                    pass  # a newer worker's word, not for this scheduler

    def _welcome(self) -> worker_pb2.SessionResponse:
        return worker_pb2.SessionResponse(
            welcome=worker_pb2.Welcome(
                scheduler=self._scheduler.incarnation,
                version=version("nnpm"),
                lease_ms=int(LEASE * 1000),
                clock_ns=time.monotonic_ns(),
            )
        )

    def _heartbeat(self) -> worker_pb2.SessionResponse:
        return worker_pb2.SessionResponse(heartbeat=worker_pb2.SchedulerHeartbeat(clock_ns=time.monotonic_ns()))

    async def _peers(self) -> worker_pb2.SessionResponse:
        """All schedulers that live; at least this one, also while Redis does not answer."""
        try:
            others = await live_schedulers(self._redis)
        except (RedisError, OSError):
            others = []
        addresses = {peer.incarnation: peer.address for peer in (*others, self._scheduler)}
        peers = [worker_pb2.Peer(scheduler=scheduler, address=address) for scheduler, address in addresses.items()]
        return worker_pb2.SessionResponse(peers=worker_pb2.Peers(peers=peers))


def _reply(reply: worker_pb2.Reply) -> Reply:
    status = reply.status.SerializeToString() if reply.HasField("status") else b""
    return Reply(reply.number, reply.nonce, reply.offset, reply.count, reply.head, reply.raw, status)
