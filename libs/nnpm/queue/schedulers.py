"""Which schedulers live: each lists itself in Redis under its incarnation, with the address where workers reach it."""

from dataclasses import dataclass

from redis.asyncio import Redis

from nnpm.queue.keys import SCHEDULERS, scheduler_key

LEASE = 2.0
"""Seconds. Heartbeats go twice a lease; who was silent for a lease is taken for dead."""

LISTED = 5.0
"""Seconds that a scheduler stays listed after its last refresh."""


@dataclass(frozen=True, slots=True)
class LiveScheduler:
    """One scheduler process: a fresh id at every start, and its mesh address (`unix:/path` or `host:port`)."""

    incarnation: str
    address: str


class SchedulerListing:
    """Keeps one scheduler on the list.

    The key is SET once and then only prolonged: a Redis that is out of memory refuses SET but not PEXPIRE.
    """

    def __init__(self, redis: Redis, scheduler: LiveScheduler) -> None:
        self._redis = redis
        self._scheduler = scheduler
        self._key = scheduler_key(scheduler.incarnation)

    async def enter(self) -> None:
        """Lists the scheduler."""
        listed_ms = int(LISTED * 1000)
        await self._redis.set(self._key, self._scheduler.address, px=listed_ms)
        await self._redis.sadd(SCHEDULERS, self._scheduler.incarnation)

    async def refresh(self) -> int:
        """Prolongs the entry, or makes it anew where Redis has lost it; returns how many are listed."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.pexpire(self._key, int(LISTED * 1000))
            pipe.sismember(SCHEDULERS, self._scheduler.incarnation)
            pipe.scard(SCHEDULERS)
            kept, listed, schedulers = await pipe.execute()
        if not (kept and listed):
            await self.enter()
        return int(schedulers)

    async def leave(self) -> None:
        """Takes the scheduler off the list, so that workers need not wait for its lease to run out."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(self._key)
            pipe.srem(SCHEDULERS, self._scheduler.incarnation)
            await pipe.execute()


async def live_schedulers(redis: Redis) -> list[LiveScheduler]:
    """Every scheduler whose lease has not run out, by incarnation."""
    return [LiveScheduler(incarnation, address) for incarnation, address in await _listed(redis) if address is not None]


async def forget_gone(redis: Redis) -> None:
    """Takes those off the list whose lease has run out. One that was only late lists itself again."""
    gone = [incarnation for incarnation, address in await _listed(redis) if address is None]
    if gone:
        await redis.srem(SCHEDULERS, *gone)


async def _listed(redis: Redis) -> list[tuple[str, str | None]]:
    members = sorted(_text(member) for member in await redis.smembers(SCHEDULERS))
    if not members:
        return []
    addresses = await redis.mget([scheduler_key(member) for member in members])
    return [
        (member, None if address is None else _text(address))
        for member, address in zip(members, addresses, strict=True)
    ]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
