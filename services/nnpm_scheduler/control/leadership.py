"""Which scheduler may send Load and Unload: the holder of a lease in Redis, named by a token that only grows.

The token is taken and the lease is won in one script, so the order of leaders is the order of their tokens. A Redis
that lost its data would begin again at 1; the greatest token used stands in SQL as well, and no token is below it.
"""

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.errors import NnpmError
from nnpm.queue.keys import LEADER, LEADER_TOKEN
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.control.changes import Changes

LEASE = 2.0
"""Seconds that a leader leads after its last renewal."""

RENEW = LEASE / 4

# KEYS: leader, token. ARGV: my incarnation, lease in ms, greatest token known. Answers my token, or 0.
_CAMPAIGN = """
local holder = redis.call('GET', KEYS[1])
if holder == false then
  local token = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3])) + 1
  redis.call('SET', KEYS[2], string.format('%d', token))
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return token
end
return 0
"""

# KEYS: leader. ARGV: my incarnation, lease in ms. Answers 1 if I still lead.
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""

_RESIGN = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


class Tokens(Protocol):
    """Where the greatest token used is remembered: the store."""

    async def fencing_token(self) -> int:
        """The greatest so far; 0 before the first."""
        ...

    async def record_fencing_token(self, token: int) -> None:
        """Remember it, before anything is sent with it."""
        ...


class Leadership:
    """One scheduler's part in it: tries to lead until cancelled, and keeps leading while it can."""

    def __init__(self, redis: Redis, scheduler: str, tokens: Tokens, changes: Changes) -> None:
        self._redis = redis
        self._scheduler = scheduler
        self._tokens = tokens
        self._changes = changes
        self._token = 0
        self._until = float("-inf")
        self._log = get_logger("control")

    @property
    def token(self) -> int | None:
        """The fencing token while this scheduler leads, else None."""
        return self._token if time.monotonic() < self._until else None

    async def keep(self) -> None:
        """Campaigns and renews until cancelled."""
        while True:
            try:
                await self.step()
            except (RedisError, OSError, NnpmError) as error:
                if self.token is None and self._token:
                    self._token = 0
                    self._log.warning("this scheduler leads no more", error=str(error))
            await asyncio.sleep(RENEW)

    async def step(self) -> None:
        """Renews the lease, or tries to win it."""
        if self.token is not None:
            if await self._renewed():
                return
            self._until = float("-inf")
        # The lease counts from before it was asked for: this side must be the first to believe that it has run out.
        asked = time.monotonic()
        floor = await self._tokens.fencing_token()
        lease = str(int(LEASE * 1000))
        token = int(await self._redis.eval(_CAMPAIGN, 2, LEADER, LEADER_TOKEN, self._scheduler, lease, str(floor)))
        if not token:
            return
        await self._tokens.record_fencing_token(token)
        self._token, self._until = token, asked + LEASE
        self._log.info("this scheduler leads", fencing_token=token)
        self._changes.bump()

    async def resign(self) -> None:
        """Let another lead at once."""
        self._until = float("-inf")
        with suppress(RedisError, OSError):  # else the lease runs out by itself
            await self._redis.eval(_RESIGN, 1, LEADER, self._scheduler)

    async def _renewed(self) -> bool:
        asked = time.monotonic()
        kept = await self._redis.eval(_RENEW, 1, LEADER, self._scheduler, str(int(LEASE * 1000)))
        if kept:
            self._until = asked + LEASE
        return bool(kept)
