"""The grpc.aio transport: ModelInfer as raw bytes, gathered into blocks.

It is there on every machine; the native one (transport_native.py) does the same, faster. ModelStreamInfer's calls
(model_stream.py) go through it. Only errors, which are rare, build a status.
"""

import asyncio
from typing import Any, NoReturn

import grpc
import grpc.aio

from nnpm.rpc.status import DETAILS_KEY
from nnpm_scheduler.dispatch.call import METADATA
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls, Failure, Outcome
from nnpm_scheduler.dispatch.gathering import Gathering
from nnpm_scheduler.dispatch.held import Held
from nnpm_scheduler.dispatch.plain import split
from nnpm_scheduler.dispatch.turn import Dispatch

Context = grpc.aio.ServicerContext[Any, Any]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class AioTransport:
    """Calls on their way to the dispatch core, several at a time.

    `held` counts what is held of them; `keys` of metadata are handed over.
    """

    def __init__(self, dispatch: Dispatch, held: Held, keys: tuple[str, ...] = METADATA) -> None:
        self._dispatch = dispatch
        self.held = held
        self._keys = keys
        self._no_metadata = ("",) * len(keys)
        self._loop = asyncio.get_running_loop()
        self._gathering = Gathering(lambda: held.calls, self._turn)
        self._abandoned: list[tuple[int, int]] = []

    async def infer(self, request: bytes, context: Context) -> bytes:
        """ModelInfer."""
        call, peer = self.call(request, context, "ModelInfer"), context.peer()
        failure = self.held.take(peer, len(request))
        try:
            outcome: Outcome
            if failure is None:
                self.submit(call)
                outcome = await self._outcome(call)
            else:
                outcome = Failure(*failure, "")
        finally:
            self.held.release(peer, len(request))
        if isinstance(outcome, Failure):
            await abort(context, outcome)
        return outcome

    def call(self, body: bytes, context: Context, method: str) -> AioCall:
        """A request that has come."""
        came = dict(context.invocation_metadata() or ())
        metadata = self._no_metadata
        if not came.keys().isdisjoint(self._keys):
            metadata = tuple([_text(came.get(key, "")) for key in self._keys])
        return AioCall(body, split(body), context.time_remaining(), metadata, method, self._loop.create_future())

    def submit(self, call: AioCall) -> None:
        """Hands it over soon, with others: its outcome will come, unless it is abandoned."""
        self._gathering.add(call)

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
            self.abandon(call)
            raise

    def abandon(self, call: AioCall) -> None:
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


async def abort(context: Context, failure: Failure) -> NoReturn:
    """Ends a call with it."""
    await context.abort(_CODES[failure.code], failure.message, ((DETAILS_KEY, failure.details),))
    raise AssertionError("abort returned")  # grpc's stubs do not know that it never does


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")
