"""Every reason that an nnpm error can carry, with what it means: the documentation's table is made from this one.

Sorted by name. A reason is never renamed or reused once released.
"""

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "CALL_CANCELLED": "The caller cancelled the call.",
    "DEADLINE_EXCEEDED": "The call's deadline passed before its answer.",
    "INTERNAL_ERROR": "A fault inside nnpm; the service's log has the details under the trace id.",
    "INVALID_SETTINGS": "A setting is missing or contradicts another; the message names it.",
    "LISTEN_NOT_LOOPBACK": "A listen address other than loopback needs TLS, or `insecure` in so many words.",
    "MALFORMED_REQUEST": "The request's bytes are not the protobuf message that the method takes.",
    "MESSAGE_TOO_LARGE": "A message is larger than the limit of the connection.",
    "METHOD_NOT_FOUND": "The server does not offer that method.",
    "SERVER_UNREACHABLE": "No connection to the server could be made, or it broke.",
    "SERVER_STOPPING": "The server is shutting down; another, or the same one later, will answer.",
}
