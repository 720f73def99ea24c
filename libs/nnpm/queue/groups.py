"""The consumer group of a revision's stream: made by whoever finds it missing, left by whoever reads no more."""

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from nnpm.queue.keys import GROUP, requests_key

# XGROUP DELCONSUMER silently drops what is pending, so that must be nothing.
_LEAVE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return -1 end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
"""


async def make_group(redis: Redis, revision: str) -> None:
    """Make the stream and its group, from its first entry on; fine when they exist."""
    try:
        await redis.xgroup_create(requests_key(revision), GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


async def leave_group(redis: Redis, revision: str, consumer: str | bytes) -> None:
    """Take a consumer out of the group, if nothing is pending with it; fine when there is no group."""
    try:
        await redis.eval(_LEAVE, 1, requests_key(revision), GROUP, consumer)
    except ResponseError as error:
        if not group_is_missing(error):
            raise


def group_is_missing(error: Exception) -> bool:
    """Whether Redis answered that there is no such stream, or no group of it."""
    # A stream that is deleted under a blocked read: "UNBLOCKED the stream key no longer exists" (Redis >= 7). What
    # fails within a script, Redis 6.2 tells behind a sentence about the script.
    said = str(error)
    return "NOGROUP " in said or said.startswith(("UNBLOCKED", "the stream key no longer", "no such key"))
