"""Connections to Redis (>= 6.2) or Valkey, and the conditions under which nnpm trusts one."""

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.queue.writes import bound_writes
from nnpm.rpc.pause import pause
from nnpm.telemetry.logs import get_logger

OLDEST = (6, 2)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5  # seconds between two looks for a Redis that is not there


def connect(url: str, *, connect_timeout: float = 1.0, answer_timeout: float = 10.0) -> Redis:
    """A pool of connections; nothing is dialled before the first command.

    A command that meets a broken connection fails at once: whoever sent it knows whether it may be sent twice.

    Args:
        url: `redis://[user:password@]host:port/db`, `rediss://...` for TLS, or `unix:///path/to/socket`.
        connect_timeout: seconds.
        answer_timeout: seconds; must be longer than any blocking read.
    """
    over_tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    redis = Redis.from_url(
        url,
        socket_connect_timeout=connect_timeout,
        socket_timeout=answer_timeout,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        **over_tcp,
    )
    return bound_writes(redis)


async def wait_for_redis(redis: Redis, stop: asyncio.Event) -> bool:
    """Wait for a Redis that nnpm trusts, as at a service's start; False when `stop` was set before.

    Raises FailedPrecondition REDIS_TOO_OLD, REDIS_EVICTS: waiting does not mend those.
    """
    log = get_logger("queue")
    seconds, told = _FIRST_PAUSE, False
    while not stop.is_set():
        try:
            await check_redis(redis)
        except Unavailable as error:
            if not told:
                log.warning("waiting for Redis", why=error.message, hint=error.hint)
                told = True
        else:
            if told:
                log.info("Redis is there")
            return True
        await pause(stop, seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE)
    return False


async def check_redis(redis: Redis) -> None:
    """Refuses a Redis that is too old or that may throw queued requests away.

    Raises:
        Unavailable: REDIS_UNREACHABLE.
        FailedPrecondition: REDIS_TOO_OLD or REDIS_EVICTS.
    """
    try:
        info = await redis.info()
    except (RedisError, OSError) as error:
        raise Unavailable(
            "REDIS_UNREACHABLE",
            f"Redis does not answer: {error}",
            hint="start Redis, or set NNPM_REDIS_URL to where it listens",
        ) from error
    # Valkey reports a fixed redis_version (7.2.4) for old clients, so it never looks too old.
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise FailedPrecondition(
            "REDIS_TOO_OLD", f"Redis is {version}; nnpm needs 6.2 or newer", metadata={"version": version}
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise FailedPrecondition(
            "REDIS_EVICTS",
            f"Redis has maxmemory-policy {policy}, so it may drop queued requests when its memory is full",
            hint="set maxmemory-policy to noeviction",
            metadata={"policy": policy},
        )
