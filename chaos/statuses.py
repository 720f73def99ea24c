"""The statuses that a client of the dispatch path may see when parts of a mesh fail, as the users' page lists them."""

from collections.abc import Mapping

DOCUMENTED: Mapping[str, str] = {
    "CALL_CANCELLED": "CANCELLED",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "MODEL_NOT_READY": "UNAVAILABLE",
    "OVERLOADED": "RESOURCE_EXHAUSTED",
    "POISON_REQUEST": "INTERNAL",
    "QUEUE_UNAVAILABLE": "UNAVAILABLE",
    "QUOTA_EXCEEDED": "RESOURCE_EXHAUSTED",
    "QUOTA_UNKNOWN": "UNAVAILABLE",
    "REVISION_RETIRED": "UNAVAILABLE",
    "SERVER_STOPPING": "UNAVAILABLE",
    "SERVER_UNREACHABLE": "UNAVAILABLE",
    "TOO_MUCH_IN_FLIGHT": "RESOURCE_EXHAUSTED",
}
"""The code that goes with each reason."""


def is_documented(code: str, reason: str) -> bool:
    """Whether a client may be told this. A client library that tells no reason is asked for the code alone."""
    return DOCUMENTED.get(reason) == code if reason else code in DOCUMENTED.values()
