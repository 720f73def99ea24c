"""The one mapping between nnpm's errors and rich gRPC statuses (google.rpc.Status, https://google.aip.dev/193).

On the wire an error is the status code and message, with a serialised google.rpc.Status in the trailing metadata
`grpc-status-details-bin` that holds ErrorInfo, BadRequest and RetryInfo.
"""

import re
from typing import NoReturn

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from nnpm.errors import BY_CODE, DOMAIN, FieldViolation, NnpmError, Unknown
from nnpm.rpc.brevity import MOST_MESSAGE, shorten, shorten_facts, shorten_violations

DETAILS_KEY = "grpc-status-details-bin"

_CODES = {code.name: code for code in grpc.StatusCode}
_NUMBERS = {code.value[0]: code.name for code in grpc.StatusCode}
# What gRPC itself answers, without details, when nnpm's code never ran.
_BARE_REASONS = {
    "CANCELLED": "CALL_CANCELLED",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED": "MESSAGE_TOO_LARGE",
    "UNAVAILABLE": "SERVER_UNREACHABLE",
    "UNIMPLEMENTED": "METHOD_NOT_FOUND",
}


def to_status(error: NnpmError) -> Status:
    """The google.rpc.Status of an error, shortened to what trailing metadata can carry."""
    facts = error.metadata | ({"hint": error.hint} if error.hint else {})
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=shorten_facts(facts))]
    if error.violations:
        kept = shorten_violations(error.violations)
        violations = [BadRequest.FieldViolation(field=v.field, description=v.description) for v in kept]
        details.append(BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    message = shorten(error.message, MOST_MESSAGE)
    return Status(code=_CODES[error.code].value[0], message=message, details=map(_pack, details))


def from_status(status: Status) -> NnpmError:
    """The error that a google.rpc.Status stands for; unknown details are passed over."""
    code = _NUMBERS.get(status.code, "UNKNOWN")
    reason, metadata = _BARE_REASONS.get(code, "INTERNAL_ERROR"), dict[str, str]()
    violations: list[FieldViolation] = []
    retry_after = None
    for detail in status.details:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    kind = BY_CODE.get(code, Unknown)
    hint = metadata.pop("hint", "")
    return kind(reason, status.message, hint=hint, metadata=metadata, violations=violations, retry_after=retry_after)


def from_bytes(status: bytes) -> NnpmError:
    """As `from_status`, of a serialised one."""
    try:
        return from_status(Status.FromString(status))
    except DecodeError:
        return Unknown("INTERNAL_ERROR", "an error came whose status cannot be read")


def from_call(error: grpc.aio.AioRpcError, address: str = "") -> NnpmError:
    """The error that a failed call stands for. `address` names the server when it could not be reached."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_bytes(value)
    code = error.code().name
    bare = from_status(Status(code=error.code().value[0], message=error.details() or code))
    if code == "UNAVAILABLE" and address:
        bare.message = f"no answer from {address}: {bare.message}"
        bare.hint = "is the service up? `nnpm status` tells, `nnpm up` starts a mesh on this machine"
    elif code == "DEADLINE_EXCEEDED" and address:
        bare.message = f"no answer from {address} before the call's deadline"
    elif bare.reason == "MESSAGE_TOO_LARGE":
        sizes = re.search(r"\((\d+) vs\. (\d+)\)", bare.message)
        told = f": {sizes[1]} bytes, at most {sizes[2]} are allowed" if sizes else ""
        bare.message = f"the message is too large{told}"
        bare.hint = "send less in one call, or raise NNPM_MAX_MESSAGE_BYTES at both ends"
    return bare


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: NnpmError) -> NoReturn:
    """End a server's call with an error."""
    status = to_status(error)
    await context.abort(_CODES[error.code], status.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort returned")  # grpc's stubs do not know that it never does


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
