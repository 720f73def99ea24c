"""Deliver and RedeemPayload: replies to the scheduler that waits for them, and large bodies from it.

They go over another connection than the Session, so that megabytes do not hold up heartbeats.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.errors import Cancelled, DataLoss, DeadlineExceeded, Internal, NnpmError, NotFound, Unavailable
from nnpm.rpc.status import to_status
from nnpm.telemetry.logs import get_logger
from nnpm_worker.execution import Figures, Outcome

if TYPE_CHECKING:
    # Typing only: the generated module has one stub class for both kinds of channel.
    from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceAsyncStub

_MOST_TOGETHER = 16 * 1024 * 1024
"""Bytes of replies in one message; a single larger reply travels alone."""

_DELIVER_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between tries
_TRANSIENT = (Unavailable, DeadlineExceeded, Cancelled)

_log = get_logger("deliver")


@dataclass(frozen=True, slots=True)
class Addressee:
    """The scheduler process that a batch's replies go to."""

    scheduler: str
    address: str


class Deliverer:
    """Sends replies until they are taken.

    Args:
        worker: this worker's incarnation.
        service_at: a stub for a mesh address.
        is_gone: whether a scheduler will never take an answer again.
    """

    def __init__(
        self,
        worker: str,
        service_at: "Callable[[str], WorkerServiceAsyncStub]",
        is_gone: Callable[[Addressee], bool],
    ) -> None:
        self._worker = worker
        self._service_at = service_at
        self._is_gone = is_gone

    async def deliver(
        self, to: Addressee, revision: str, outcomes: Sequence[Outcome], figures: Figures, started_ns: int
    ) -> None:
        """Returns once the scheduler has answered, or is gone. Safe to repeat: a reply is taken at most once.

        Args:
            to: whom.
            revision: that ran.
            outcomes: of one batch, those of this scheduler.
            figures: of the batch.
            started_ns: when it started, on this process's monotonic clock.
        """
        described: wire.BatchFigures | None = _figures(figures)
        for replies in _portions([reply for outcome in outcomes for reply in _replies(outcome, started_ns)]):
            await self._send(to, self._request(to, revision, replies, described))
            described = None  # once a batch

    async def redeem(self, to: Addressee, number: int, nonce: int, size: int) -> bytes:
        """The body of a claimed request.

        Raises:
            Cancelled: CALL_CANCELLED, when it is no longer wanted.
            Unavailable: when the scheduler cannot be reached.
            DataLoss: CONTENT_MISMATCH, when it is not as long as was said.
        """
        request = wire.RedeemPayloadRequest(number=number, nonce=nonce)
        body = bytearray()
        try:
            async with asyncio.timeout(_DELIVER_SECONDS + size / 1e6):
                async for response in self._service_at(to.address).RedeemPayload(request):
                    body += response.data
        except NotFound as error:
            raise Cancelled("CALL_CANCELLED", "the request is no longer wanted") from error
        except TimeoutError as error:
            raise Unavailable("SERVER_UNREACHABLE", "the scheduler did not send the request's body in time") from error
        if len(body) != size:
            raise DataLoss("CONTENT_MISMATCH", f"the request's body came with {len(body)} bytes, not {size}")
        return bytes(body)

    def _request(
        self, to: Addressee, revision: str, replies: Sequence[wire.Reply], figures: wire.BatchFigures | None
    ) -> wire.DeliverRequest:
        return wire.DeliverRequest(
            worker=self._worker, scheduler=to.scheduler, revision=revision, replies=replies, figures=figures
        )

    async def _send(self, to: Addressee, request: wire.DeliverRequest) -> None:
        pause = _FIRST_PAUSE
        while not self._is_gone(to):
            try:
                await self._service_at(to.address).Deliver(request, timeout=_DELIVER_SECONDS)
            except _TRANSIENT:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except NnpmError as error:
                # It was answered, and would be answered the same again: the calls get a clear end instead.
                _log.error("a scheduler refuses a Deliver", scheduler=to.scheduler, reason=error.reason, why=str(error))
                if all(reply.HasField("status") for reply in request.replies):
                    return
                request = _without_bodies(request, error)
            else:
                return


def _replies(outcome: Outcome, started_ns: int) -> Iterator[wire.Reply]:
    """In as many pieces as it takes for each to be no larger than a message should be."""
    block, written = outcome.job.block, outcome.written
    queue_ns = max(0, started_ns - outcome.job.received_ns)
    if written is None:
        error = outcome.error or Internal("INTERNAL_ERROR", "the worker has no answer")
        yield wire.Reply(
            number=block.number,
            nonce=block.nonce,
            offset=outcome.offset,
            count=outcome.count,
            final=True,
            queue_ns=queue_ns,
            status=to_status(error),
        )
        return
    strides = [len(content) // written.count for content in written.raw]
    step = max(1, min(written.count, _MOST_TOGETHER // max(1, sum(strides))))
    for first in range(0, written.count, step):
        count = min(step, written.count - first)
        yield wire.Reply(
            number=block.number,
            nonce=block.nonce,
            offset=outcome.offset + first,
            count=count,
            head=written.head,
            raw=[
                bytes(content[first * stride : (first + count) * stride])
                for content, stride in zip(written.raw, strides, strict=True)
            ],
            final=True,
            queue_ns=queue_ns,
        )


def _without_bodies(request: wire.DeliverRequest, error: NnpmError) -> wire.DeliverRequest:
    status = to_status(Internal("INTERNAL_ERROR", f"the reply could not be delivered: {error.message}"))
    replies = [
        wire.Reply(
            number=reply.number,
            nonce=reply.nonce,
            offset=reply.offset,
            count=reply.count,
            final=True,
            queue_ns=reply.queue_ns,
            status=status,
        )
        for reply in request.replies
    ]
    return wire.DeliverRequest(
        worker=request.worker,
        scheduler=request.scheduler,
        revision=request.revision,
        replies=replies,
        figures=request.figures,
    )


def _portions(replies: Sequence[wire.Reply]) -> Iterator[list[wire.Reply]]:
    portion: list[wire.Reply] = []
    size = 0
    for reply in replies:
        if portion and size + _size(reply) > _MOST_TOGETHER:
            yield portion
            portion, size = [], 0
        portion.append(reply)
        size += _size(reply)
    if portion:
        yield portion


def _size(reply: wire.Reply) -> int:
    return sum([len(content) for content in reply.raw])


def _figures(figures: Figures) -> wire.BatchFigures:
    return wire.BatchFigures(
        requests=figures.requests,
        rows=figures.rows,
        compute_input_ns=figures.compute_input_ns,
        compute_infer_ns=figures.compute_infer_ns,
        compute_output_ns=figures.compute_output_ns,
    )
