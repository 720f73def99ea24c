"""The grpc.aio transport: ModelInfer and ModelStreamInfer as raw bytes, a turn's calls handed over in one list.

gRPC parses nothing here and nothing is parsed twice; only errors, which are rare, build a status.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from nnpm.api.inference import inference_pb2
from nnpm.errors import NnpmError
from nnpm.rpc.status import abort
from nnpm_scheduler.dispatch.call import Answer, Call, Outcome
from nnpm_scheduler.dispatch.tracing import CallTracer
from nnpm_scheduler.dispatch.turn import Dispatch

Context = grpc.aio.ServicerContext[Any, Any]

MOST_IN_STREAM = 1_024
"""Requests of one stream that may be unanswered; further ones are left unread."""


@dataclass(slots=True, eq=False)
class AioCall(Call):
    """A call that a coroutine waits for."""

    outcome: asyncio.Future[Outcome] = field(kw_only=True)


class AioTransport:
    """Both inference methods over one dispatch core."""

    def __init__(self, dispatch: Dispatch, tracer: CallTracer) -> None:
        self._dispatch = dispatch
        self._tracer = tracer
        self._arrived: list[AioCall] = []
        self._abandoned: list[AioCall] = []

    def answer(self, answers: Sequence[Answer]) -> None:
        """Completes the calls' futures."""
        for call, outcome in answers:
            if isinstance(call, AioCall) and not call.outcome.done():
                call.outcome.set_result(outcome)

    async def infer(self, request: bytes, context: Context) -> bytes:
        """ModelInfer."""
        with self._tracer.span("ModelInfer", context) as traceparent:
            call = self._submit(request, _deadline(context), context.peer(), traceparent)
            outcome = await self._outcome(call)
            if isinstance(outcome, NnpmError):
                self._tracer.failed(outcome)
                await abort(context, outcome)
            return outcome

    async def stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """ModelStreamInfer: many in flight, answers in the order of the requests, errors as messages in the stream."""
        unanswered: asyncio.Queue[AioCall | None] = asyncio.Queue(MOST_IN_STREAM)
        with self._tracer.span("ModelStreamInfer", context) as traceparent:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read(requests, context, traceparent, unanswered))
                    while (call := await unanswered.get()) is not None:
                        await context.write(_streamed(call, await self._outcome(call)))
            finally:
                # A broken stream: whatever nobody will wait for any more leaves the queue at once.
                for left in _drained(unanswered):
                    self._abandon(left)

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        context: Context,
        traceparent: str,
        unanswered: asyncio.Queue[AioCall | None],
    ) -> None:
        peer, deadline = context.peer(), _deadline(context)
        async for request in requests:
            call = self._submit(request, deadline, peer, traceparent)
            try:
                await unanswered.put(call)
            except asyncio.CancelledError:
                self._abandon(call)
                raise
        await unanswered.put(None)

    def _submit(self, body: bytes, deadline: float | None, peer: str, traceparent: str) -> AioCall:
        loop = asyncio.get_running_loop()
        call = AioCall(body, deadline, peer, traceparent, outcome=loop.create_future())
        if not self._arrived:
            # Whatever arrives before the loop comes round again belongs to the same turn.
            loop.call_soon(self._turn)
        self._arrived.append(call)
        return call

    def _turn(self) -> None:
        calls, self._arrived = self._arrived, []
        self._dispatch.take(calls)

    async def _outcome(self, call: AioCall) -> Outcome:
        try:
            return await call.outcome
        except asyncio.CancelledError:
            self._abandon(call)
            raise

    def _abandon(self, call: AioCall) -> None:
        if not self._abandoned:
            asyncio.get_running_loop().call_soon(self._cancel_abandoned)
        self._abandoned.append(call)

    def _cancel_abandoned(self) -> None:
        calls, self._abandoned = self._abandoned, []
        self._dispatch.cancel(calls)


def _deadline(context: Context) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def _drained(queue: asyncio.Queue[AioCall | None]) -> list[AioCall]:
    left = [queue.get_nowait() for _ in range(queue.qsize())]
    return [call for call in left if call is not None]


def _streamed(call: AioCall, outcome: Outcome) -> bytes:
    """A serialised ModelStreamInferResponse; an error names its request by id alone, as Triton's does."""
    if isinstance(outcome, NnpmError):
        return inference_pb2.ModelStreamInferResponse(
            error_message=f"{outcome.message} [{outcome.reason}]",
            infer_response=inference_pb2.ModelInferResponse(id=call.id),
        ).SerializeToString()
    # Field 2, length-delimited: the reply's bytes go on untouched.
    return b"".join((b"\x12", _varint(len(outcome)), outcome))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
