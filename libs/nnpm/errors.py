"""The one hierarchy of errors that nnpm raises, on both sides of a gRPC call.

A domain module raises one of these; `nnpm.rpc` turns it into a gRPC status with details at the server's edge and back
into the same class in the client. The classes follow google.rpc.Code (https://google.aip.dev/193); `reason` is the
stable word that a program matches, a key of `nnpm.reasons.REASONS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

DOMAIN = "nnpm"
"""The `domain` of every ErrorInfo that nnpm answers with."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong: its path (`inputs[0].shape`) and what is wrong with it."""

    field: str
    description: str


class NnpmError(Exception):
    """What every nnpm error carries. Raise a subclass: the class says the gRPC code.

    Args:
        reason: a key of `nnpm.reasons.REASONS`, for programs.
        message: one sentence for a person: what was wrong, with the names involved.
        hint: what to do about it; empty when there is nothing to say.
        metadata: facts for programs (`{"package": "acme/tiny"}`).
        violations: the fields that were wrong, if the fault lies in fields.
        retry_after: seconds after which a retry may succeed; None when a retry as it is makes no sense.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        hint: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"


class Cancelled(NnpmError):
    """The caller gave the call up."""

    code = "CANCELLED"


class Unknown(NnpmError):
    """A peer answered with a status that carries no more than its text."""

    code = "UNKNOWN"


class InvalidArgument(NnpmError):
    """The request is wrong whatever the state of the system."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(NnpmError):
    """The deadline passed before the answer."""

    code = "DEADLINE_EXCEEDED"


class NotFound(NnpmError):
    """What the request names does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(NnpmError):
    """What the request would create exists, and differs."""

    code = "ALREADY_EXISTS"


class PermissionDenied(NnpmError):
    """The caller is known and may not."""

    code = "PERMISSION_DENIED"


class ResourceExhausted(NnpmError):
    """A quota, a size limit, memory or disk is used up."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(NnpmError):
    """The system is not in the state that the request needs; something else must be done first."""

    code = "FAILED_PRECONDITION"


class Aborted(NnpmError):
    """A concurrent change won; read again and retry."""

    code = "ABORTED"


class OutOfRange(NnpmError):
    """A position past the end."""

    code = "OUT_OF_RANGE"


class Unimplemented(NnpmError):
    """This server does not offer that."""

    code = "UNIMPLEMENTED"


class Internal(NnpmError):
    """A fault of nnpm's own, or of the model."""

    code = "INTERNAL"


class Unavailable(NnpmError):
    """Out of reach now; the same call may succeed later."""

    code = "UNAVAILABLE"


class DataLoss(NnpmError):
    """Stored bytes are not what they were."""

    code = "DATA_LOSS"


class Unauthenticated(NnpmError):
    """The caller is not known."""

    code = "UNAUTHENTICATED"


BY_CODE: Mapping[str, type[NnpmError]] = {
    kind.code: kind
    for kind in (
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    )
}
"""gRPC status name -> class."""
