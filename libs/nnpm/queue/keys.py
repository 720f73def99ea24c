"""The names of what lies in Redis. The braces keep the keys that belong together in one cluster slot."""

GROUP = "workers"
"""The consumer group of every stream, made from id 0, never from `$`. A consumer is a worker's incarnation."""

FIELD = "e"
"""The one field of a stream entry: a `nnpm.api.worker.v1.Envelope` message."""

SCHEDULERS = "{nnpm}:schedulers"
"""The set of scheduler incarnations, dead ones included until somebody clears them away."""

LEADER = "{nnpm}:leader"
"""Holds the incarnation of the scheduler that may send Load and Unload; gone when its lease is."""

LEADER_TOKEN = "{nnpm}:leader:token"  # noqa: S105 -- a key's name, no secret
"""The greatest fencing token that was given out."""


def requests_key(revision: str) -> str:
    """The stream that holds a revision's requests."""
    return f"nnpm:{{{revision}}}:requests"


def quota_key(account: str) -> str:
    """A hash: what is left of a tenant's or deployment's quota, and what each scheduler has in flight of it."""
    return f"{{nnpm}}:quota:{account}"


def scheduler_key(incarnation: str) -> str:
    """Holds the mesh address of a live scheduler; gone when the scheduler is."""
    return f"{{nnpm}}:scheduler:{incarnation}"
