"""The grpc.aio transport: ModelInfer and ModelStreamInfer as raw bytes, handed over in blocks.

It is there on every machine; the native one (transport_native.py) does the same, faster. Only errors, which are rare,
build a status.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from nnpm.rpc.status import DETAILS_KEY
from nnpm_scheduler.dispatch.call import METADATA
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls, Failure, Outcome, streamed
from nnpm_scheduler.dispatch.gathering import Gathering
from nnpm_scheduler.dispatch.held import Held
from nnpm_scheduler.dispatch.plain import split
from nnpm_scheduler.dispatch.turn import Dispatch

Context = grpc.aio.ServicerContext[Any, Any]

MOST_IN_STREAM = 1_024
"""Requests of one stream that may be unanswered; further ones are left unread."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_METADATA = frozenset(METADATA)
_NO_METADATA = ("",) * len(METADATA)


class AioTransport:
    """Both inference methods over one dispatch core."""

    def __init__(self, dispatch: Dispatch, held: Held) -> None:
        self._dispatch = dispatch
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._gathering = Gathering(lambda: held.calls, self._turn)
        self._abandoned: list[tuple[int, int]] = []

    async def infer(self, request: bytes, context: Context) -> bytes:
        """ModelInfer."""
        call, peer = self._call(request, context, "ModelInfer"), context.peer()
        failure = self._held.take(peer, len(request))
        try:
            outcome: Outcome
            if failure is None:
                self._gathering.add(call)
                outcome = await self._outcome(call)
            else:
                outcome = Failure(*failure, "")
        finally:
            self._held.release(peer, len(request))
        if isinstance(outcome, Failure):
            await _abort(context, outcome)
        return outcome

    async def stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """ModelStreamInfer: many in flight, answers in the order of the requests, errors as messages in the stream."""
        unanswered: asyncio.Queue[AioCall | None] = asyncio.Queue(MOST_IN_STREAM)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(requests, context, unanswered))
                while (call := await unanswered.get()) is not None:
                    try:
                        outcome = await self._outcome(call)
                    finally:
                        self._held.release(context.peer(), len(call.body))
                    await context.write(streamed(call, outcome))
        finally:
            # A broken stream: whatever nobody will wait for any more leaves the queue at once.
            for left in _drained(unanswered):
                self._held.release(context.peer(), len(left.body))
                self._abandon(left)

    async def _read(
        self, requests: AsyncIterator[bytes], context: Context, unanswered: asyncio.Queue[AioCall | None]
    ) -> None:
        async for request in requests:
            call = self._call(request, context, "ModelStreamInfer")
            failure = self._held.take(context.peer(), len(request))
            if failure is None:
                self._gathering.add(call)
            else:
                call.finish(Failure(*failure, failure[1]))
            try:
                await unanswered.put(call)
            except asyncio.CancelledError:
                self._held.release(context.peer(), len(request))
                self._abandon(call)
                raise
        await unanswered.put(None)

    def _call(self, body: bytes, context: Context, method: str) -> AioCall:
        came = dict(context.invocation_metadata() or ())
        metadata = _NO_METADATA if _METADATA.isdisjoint(came) else tuple([_text(came.get(key, "")) for key in METADATA])
        return AioCall(body, split(body), context.time_remaining(), metadata, method, self._loop.create_future())

    def _turn(self, calls: list[AioCall]) -> None:
        blocks: dict[object, list[AioCall]] = {}
        for call in calls:
            if not call.outcome.done():
                blocks.setdefault(call.block, []).append(call)
        self._dispatch.take(map(AioCalls, blocks.values()))

    async def _outcome(self, call: AioCall) -> Outcome:
        try:
            return await call.outcome
        except asyncio.CancelledError:
            self._abandon(call)
            raise

    def _abandon(self, call: AioCall) -> None:
        """Nobody waits for it. (The future that a cancelled coroutine awaited is cancelled with it.)"""
        if call.outcome.done() and not call.outcome.cancelled():
            return
        call.outcome.cancel()
        if call.place is None:
            return
        if not self._abandoned:
            self._loop.call_soon(self._cancel_abandoned)
        self._abandoned.append(call.place)

    def _cancel_abandoned(self) -> None:
        places, self._abandoned = self._abandoned, []
        self._dispatch.cancel(places)


async def _abort(context: Context, failure: Failure) -> NoReturn:
    await context.abort(_CODES[failure.code], failure.message, ((DETAILS_KEY, failure.details),))
    raise AssertionError("abort returned")  # grpc's stubs do not know that it never does


def _drained(queue: asyncio.Queue[AioCall | None]) -> Iterator[AioCall]:
    while not queue.empty():
        call = queue.get_nowait()
        if call is not None:
            yield call


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")
