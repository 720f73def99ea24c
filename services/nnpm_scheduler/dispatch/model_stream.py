"""ModelStreamInfer over grpc.aio: each message is a request, or cancels one; errors are messages in the stream.

libs/nnpm_wire does the same in Rust (src/stream.rs, and `Order` in src/sink.rs).
"""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from nnpm.api.inference import inference_pb2
from nnpm_scheduler.dispatch.calls_aio import AioCall, Failure, varint
from nnpm_scheduler.dispatch.refusals import cancels_nothing, refusal, unknown_stream_order
from nnpm_scheduler.dispatch.transport_aio import AioTransport, Context, abort

MOST_UNANSWERED = 1_024
"""Requests of one stream that may be unanswered; further ones are left unread."""

ORDER = "nnpm-stream-order"
"""Metadata of the call: answers leave in the order of their requests (`request`), or as they come (`completion`)."""

CANCEL = "nnpm_cancel"
"""A request with this parameter is not run: it names, by id, requests that are not to be answered any more."""


class ModelStreams:
    """The method, over the transport that its calls go through."""

    def __init__(self, transport: AioTransport) -> None:
        self._transport = transport
        self._held = transport.held

    async def infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """One stream: many requests in flight, each answered once or cancelled."""
        order = dict(context.invocation_metadata() or ()).get(ORDER, "request")
        if order not in ("request", "completion"):
            await abort(context, Failure(*refusal(unknown_stream_order()), ""))
        answers = Answers(as_requested=order == "request")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(requests, context, answers))
                while (call := await answers.next()) is not None:
                    self._held.release(context.peer(), len(call.body))
                    await context.write(_streamed(call))
        finally:
            # A broken stream: whatever nobody will wait for any more leaves the queue at once.
            self._give_up(answers.withdraw_all(), context)

    async def _read(self, requests: AsyncIterator[bytes], context: Context, answers: "Answers") -> None:
        async for request in requests:
            call = self._transport.call(request, context, "ModelStreamInfer")
            cancelled = _cancelled_by(call)
            if cancelled:
                self._give_up(answers.withdraw(cancelled), context)
                continue
            await answers.room()
            failure = self._held.take(context.peer(), len(request))
            answers.add(call)
            if failure is None and cancelled is not None:
                failure = refusal(cancels_nothing())
            if failure is None:
                self._transport.submit(call)
            else:
                call.finish(Failure(*failure, failure[1]))
        answers.end()

    def _give_up(self, calls: list[AioCall], context: Context) -> None:
        for call in calls:
            self._held.release(context.peer(), len(call.body))
            self._transport.abandon(call)


class Answers:
    """A stream's calls, from when they are read until their answers leave.

    Each has a place, counted up in the order in which they were read.
    """

    def __init__(self, *, as_requested: bool) -> None:
        self._as_requested = as_requested
        self._read = 0
        self._waiting: OrderedDict[int, AioCall] = OrderedDict()
        self._answered: list[tuple[int, AioCall]] = []
        self._no_more = False
        self._moved = asyncio.Event()
        self._freed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answered)

    async def room(self) -> None:
        """Waits until fewer than `MOST_UNANSWERED` are here."""
        while len(self) >= MOST_UNANSWERED:
            self._freed.clear()
            await self._freed.wait()

    def add(self, call: AioCall) -> None:
        """The next in the order of requests."""
        self._read += 1
        place = self._read
        self._waiting[place] = call
        call.outcome.add_done_callback(lambda _: self._settle(place))

    def end(self) -> None:
        """No more will be added."""
        self._no_more = True
        self._moved.set()

    async def next(self) -> AioCall | None:
        """The next one whose answer may leave; None when all have left."""
        while not (self._answered and self._may_leave(self._answered[0][0])):
            if self._no_more and not len(self):
                return None
            self._moved.clear()
            await self._moved.wait()
        self._freed.set()
        return heapq.heappop(self._answered)[1]

    def withdraw(self, request_id: str) -> list[AioCall]:
        """Takes out those with this id that are not answered yet."""
        withdrawn = [place for place, call in self._waiting.items() if call.id == request_id]
        self._moved.set()
        self._freed.set()
        return [self._waiting.pop(place) for place in withdrawn]

    def withdraw_all(self) -> list[AioCall]:
        """Takes out whatever is left."""
        left = [*self._waiting.values(), *[call for _, call in self._answered]]
        self._waiting.clear()
        self._answered.clear()
        return left

    def _settle(self, place: int) -> None:
        call = self._waiting.pop(place, None)
        if call is not None:
            heapq.heappush(self._answered, (place, call))
            self._moved.set()

    def _may_leave(self, place: int) -> bool:
        return not (self._as_requested and self._waiting and next(iter(self._waiting)) < place)


def _cancelled_by(call: AioCall) -> str | None:
    """The id of the requests that this one cancels, empty when it names none; None when it is to be run."""
    plain = call.plain
    if CANCEL.encode() not in (call.body if plain is None else plain.header):
        return None
    try:
        parameters = inference_pb2.ModelInferRequest.FromString(call.body).parameters
    except DecodeError:
        return None
    return parameters[CANCEL].string_param if CANCEL in parameters else None


def _streamed(call: AioCall) -> bytes:
    """A serialised ModelStreamInferResponse; an error names its request by id alone, as Triton's does."""
    outcome = call.outcome.result()
    if isinstance(outcome, Failure):
        return inference_pb2.ModelStreamInferResponse(
            error_message=outcome.streamed, infer_response=inference_pb2.ModelInferResponse(id=call.id)
        ).SerializeToString()
    # Field 2, length-delimited: the reply's bytes go on untouched.
    return b"".join((b"\x12", varint(len(outcome)), outcome))
