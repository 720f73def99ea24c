"""Deliver and RedeemPayload: replies to the scheduler that waits for them, and large bodies from it.

They go over another connection than the Session, so that megabytes do not hold up heartbeats.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.errors import Cancelled, DataLoss, DeadlineExceeded, Internal, NnpmError, NotFound, Unavailable
from nnpm.rpc.status import to_status
from nnpm.telemetry.logs import get_logger
from nnpm_worker.callers import Caller, Messages
from nnpm_worker.execution import BatchResult, Figures, Outcome
from nnpm_worker.messages import Answer, deliver_request

_SERVICE = "/nnpm.api.worker.v1.WorkerService/"

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
        caller: of mesh addresses.
        is_gone: whether a scheduler will never take an answer again.
    """

    def __init__(self, worker: str, caller: Caller, is_gone: Callable[[Addressee], bool]) -> None:
        self._worker = worker
        self._caller = caller
        self._is_gone = is_gone

    def deliver(
        self, to: Addressee, revision: str, outcomes: Sequence[Outcome], result: BatchResult, done: Callable[[], None]
    ) -> None:
        """Begin; `done` is called once the scheduler has answered, or is gone. A reply is taken at most once.

        Args:
            to: whom.
            revision: that ran.
            outcomes: those of this scheduler.
            result: the batch that they are of.
            done: called on the event loop.
        """
        described: wire.BatchFigures | None = _figures(result.figures)
        portions = _portions([answer for outcome in outcomes for answer in _answers(outcome, result.started_ns)])
        left = len(portions)

        def one_done() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                done()

        for answers in portions:
            self._send(_Message(to, revision, answers, described, one_done))
            described = None  # once a batch
        if not portions:
            done()

    async def redeem(self, to: Addressee, number: int, nonce: int, size: int) -> bytes:
        """The body of a claimed request.

        Raises:
            Cancelled: CALL_CANCELLED, when it is no longer wanted.
            Unavailable: when the scheduler cannot be reached.
            DataLoss: CONTENT_MISMATCH, when it is not as long as was said.
        """
        request = wire.RedeemPayloadRequest(number=number, nonce=nonce).SerializeToString()
        answer: asyncio.Future[Messages] = asyncio.get_running_loop().create_future()

        def done(error: NnpmError | None, messages: Messages) -> None:
            if answer.done():
                return  # whoever asked was cancelled
            if error is None:
                answer.set_result(messages)
            else:
                answer.set_exception(error)

        self._caller.call(to.address, _SERVICE + "RedeemPayload", [request], _DELIVER_SECONDS + size / 1e6, done)
        try:
            messages = await answer
        except NotFound as error:
            raise Cancelled("CALL_CANCELLED", "the request is no longer wanted") from error
        body = b"".join([wire.RedeemPayloadResponse.FromString(bytes(message)).data for message in messages])
        if len(body) != size:
            raise DataLoss("CONTENT_MISMATCH", f"the request's body came with {len(body)} bytes, not {size}")
        return body

    def _send(self, message: "_Message") -> None:
        """Once; what may be mended by another try is tried again later."""
        to = message.to
        if self._is_gone(to):
            message.done()
            return
        parts = deliver_request(self._worker, to.scheduler, message.revision, message.answers, message.figures)
        self._caller.call(
            to.address, _SERVICE + "Deliver", parts, _DELIVER_SECONDS, lambda error, _: self._sent(message, error)
        )

    def _sent(self, message: "_Message", error: NnpmError | None) -> None:
        if error is None:
            message.done()
        elif isinstance(error, _TRANSIENT):
            asyncio.get_running_loop().call_later(message.pause, self._send, message)
            message.pause = min(2 * message.pause, _LONGEST_PAUSE)
        else:
            # It was answered, and would be answered the same again: the calls get a clear end instead.
            scheduler = message.to.scheduler
            _log.error("a scheduler refuses a Deliver", scheduler=scheduler, reason=error.reason, why=str(error))
            if all(answer.status for answer in message.answers):
                message.done()
                return
            message.answers = _without_contents(message.answers, error)
            self._send(message)


@dataclass(slots=True)
class _Message:
    """One Deliver on its way, however often it is sent; `pause` seconds before it is sent again."""

    to: Addressee
    revision: str
    answers: Sequence[Answer]
    figures: wire.BatchFigures | None
    done: Callable[[], None]
    pause: float = _FIRST_PAUSE


def _answers(outcome: Outcome, started_ns: int) -> Iterator[Answer]:
    """In as many pieces as it takes for each to be no larger than a message should be."""
    block, written = outcome.job.block, outcome.written
    queue_ns = max(0, started_ns - outcome.job.received_ns)
    if written is None:
        error = outcome.error or Internal("INTERNAL_ERROR", "the worker has no answer")
        status = to_status(error).SerializeToString()
        yield Answer(block.number, block.nonce, outcome.offset, outcome.count, queue_ns, status=status)
        return
    strides = [len(content) // written.count for content in written.raw]
    step = max(1, min(written.count, _MOST_TOGETHER // max(1, sum(strides))))
    for first in range(0, written.count, step):
        count, raw = written.count, written.raw
        if step < written.count:
            count = min(step, written.count - first)
            raw = [memoryview(data)[first * n : (first + count) * n] for data, n in zip(raw, strides, strict=True)]
        yield Answer(block.number, block.nonce, outcome.offset + first, count, queue_ns, written.head, raw)


def _without_contents(answers: Sequence[Answer], error: NnpmError) -> list[Answer]:
    status = to_status(Internal("INTERNAL_ERROR", f"the reply could not be delivered: {error.message}"))
    return [replace(answer, head=b"", raw=(), status=status.SerializeToString()) for answer in answers]


def _portions(answers: Sequence[Answer]) -> list[list[Answer]]:
    portions: list[list[Answer]] = []
    size = 0
    for answer in answers:
        size += answer.size
        if not portions or size > _MOST_TOGETHER:
            portions.append([])
            size = answer.size
        portions[-1].append(answer)
    return portions


def _figures(figures: Figures) -> wire.BatchFigures:
    return wire.BatchFigures(
        requests=figures.requests,
        rows=figures.rows,
        compute_input_ns=figures.compute_input_ns,
        compute_infer_ns=figures.compute_infer_ns,
        compute_output_ns=figures.compute_output_ns,
    )
