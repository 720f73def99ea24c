"""What calls fail with on the dispatch path, and how a transport is told."""

from nnpm.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NnpmError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from nnpm.rpc.status import to_status
from nnpm_scheduler.dispatch.call import Calls

Refusal = tuple[int, str, bytes]
"""A status as a transport sends it: code, message, and the serialised google.rpc.Status of both with details."""


def refusal(error: NnpmError) -> Refusal:
    """An error as a transport sends it."""
    status = to_status(error)
    return status.code, status.message, status.SerializeToString()


def refuse(calls: Calls, error: NnpmError) -> int:
    """Fails every live call of a block; returns how many."""
    return calls.fail(*refusal(error), f"{error.message} [{error.reason}]")


def stopping() -> Unavailable:
    """For calls that come after SIGTERM."""
    return Unavailable("SERVER_STOPPING", "the scheduler is shutting down", retry_after=1.0)


def past_deadline() -> DeadlineExceeded:
    """The scheduler's timer alone says so."""
    return DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline passed before its answer")


def queue_unavailable() -> Unavailable:
    """For calls that waited for Redis in vain."""
    return Unavailable(
        "QUEUE_UNAVAILABLE",
        "Redis did not answer while the call's deadline allowed to wait",
        hint="is Redis up? nnpm status tells",
        retry_after=1.0,
    )


def revision_retired() -> Unavailable:
    """For calls of a revision that is no longer in the table."""
    return Unavailable("REVISION_RETIRED", "the revision was taken down before the answer came")


def poison() -> Internal:
    """For a request that killed two workers."""
    return Internal(
        "POISON_REQUEST",
        "two workers died while they ran this request; it is not tried again",
        hint="the model crashes on these inputs: run them through its runtime on their own",
    )


def unknown_stream_order() -> InvalidArgument:
    """For a ModelStreamInfer whose metadata ask for an order that there is not."""
    return InvalidArgument(
        "STREAM_ORDER_UNKNOWN",
        "nnpm-stream-order says neither request nor completion",
        hint="leave it out for answers in the order of their requests",
    )


def cancels_nothing() -> InvalidArgument:
    """For a request of a stream that is to cancel another one, and does not say which."""
    return InvalidArgument(
        "CANCEL_WITHOUT_ID", "the parameter nnpm_cancel is the id, a string, of the request to be cancelled"
    )


def claim_not_found() -> NotFound:
    """For a worker that comes too late for a body."""
    return NotFound("CLAIM_NOT_FOUND", "the request is answered, cancelled or expired")


def overloaded(wait: float, timeout: float) -> ResourceExhausted:
    """For a call that would be answered too late: it would take `wait` seconds, and has `timeout`."""
    return ResourceExhausted(
        "OVERLOADED",
        f"the call would be answered in about {wait:.1f} s, and its deadline is in {timeout:.1f} s",
        hint="send less at a time, allow more time, or deploy more replicas",
        metadata={"predicted_seconds": f"{wait:.3f}"},
        retry_after=round(max(0.1, wait - timeout), 3),
    )


def quota_exceeded(account: str, quota: str, retry_after: float) -> ResourceExhausted:
    """For what a tenant or a deployment may not take."""
    kind, _, name = account.partition(":")
    return ResourceExhausted(
        "QUOTA_EXCEEDED",
        f"{kind} {name!r} has its quota of {quota} already",
        hint="send less, or have the quota raised",
        metadata={"kind": kind, "name": name[:200], "quota": quota},
        retry_after=round(min(60.0, max(0.001, retry_after)), 3),
    )


def quota_unknown() -> Unavailable:
    """Where quotas fail closed."""
    return Unavailable(
        "QUOTA_UNKNOWN",
        "nobody knows what is left of the quota: Redis does not answer",
        hint="is Redis up? nnpm status tells; NNPM_SCHEDULER_QUOTA_FAILURE=open lets calls in meanwhile",
        retry_after=1.0,
    )


def too_much_in_flight(what: str, limit: int) -> ResourceExhausted:
    """At a bound of what a scheduler holds."""
    return ResourceExhausted(
        "TOO_MUCH_IN_FLIGHT",
        f"the scheduler already holds as many {what} as it may ({limit})",
        hint="send fewer at a time, or retry a little later",
        retry_after=0.1,
    )


def message_too_large(limit: int) -> ResourceExhausted:
    """For a message beyond `NNPM_MAX_MESSAGE_BYTES`."""
    return ResourceExhausted(
        "MESSAGE_TOO_LARGE",
        f"the message is larger than {limit} bytes, the most that is allowed",
        hint="send less in one call, or raise NNPM_MAX_MESSAGE_BYTES at both ends",
    )


def scheduler_changed(scheduler: str) -> FailedPrecondition:
    """For replies to a scheduler process that is gone."""
    return FailedPrecondition(
        "SCHEDULER_INCARNATION_CHANGED",
        "the scheduler process that these replies are for is gone; another has its address",
        metadata={"scheduler": scheduler},
    )
