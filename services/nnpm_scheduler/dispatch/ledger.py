"""Keeps this scheduler's accounts in step with Redis, in which all schedulers' are added up: one script call a round.

A quota's bucket and what is in flight lie in one hash. Its clock is Redis's own. Where no rate is set the bucket stays
full: whoever gets one later owes nothing. What a scheduler that died had in flight counts until it has not been renewed
for a lease.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.queue.keys import quota_key
from nnpm.queue.schedulers import LEASE
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.quotas import Account, Quotas

ROUND = 0.05
"""Seconds between two rounds, while something changes."""

RENEWED = LEASE / 4
"""Seconds after which what is in flight is told again though nothing has changed."""

AT_ONCE = 256
"""Accounts in one call."""

_SETTLE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own, lease = 's:' .. ARGV[1], tonumber(ARGV[2])
local found = {}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local used, flying = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2])
  local level, at, others = burst, now, 0
  local fields = redis.call('HGETALL', key)
  for j = 1, #fields, 2 do
    local name, value = fields[j], fields[j + 1]
    if name == 'level' then level = tonumber(value)
    elseif name == 'at' then at = tonumber(value)
    elseif name ~= own then
      local count, told = string.match(value, '(%d+)@(%d+)')
      if now - tonumber(told) > lease then redis.call('HDEL', key, name) else others = others + tonumber(count) end
    end
  end
  if rate > 0 then level = math.min(burst, level + math.max(0, now - at) / 1000 * rate) - used else level = burst end
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%d', now))
  if flying > 0 then redis.call('HSET', key, own, string.format('%d@%d', flying, now))
  else redis.call('HDEL', key, own) end
  redis.call('PEXPIRE', key, 60000)
  found[#found + 1] = string.format('%.6f', level)
  found[#found + 1] = others
end
return found
"""


class Ledger:
    """Runs beside the dispatch path, which never waits for it."""

    def __init__(self, redis: Redis, scheduler: str, quotas: Quotas) -> None:
        self._redis = redis
        self._scheduler = scheduler
        self._quotas = quotas
        self._settle = redis.register_script(_SETTLE)
        self._log = get_logger("quotas")

    async def run(self) -> None:
        """Round after round, until cancelled; where there are no quotas it sleeps."""
        quotas = self._quotas
        while True:
            flying = any(account.in_flight for account in quotas.accounts.values())
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEWED if flying or quotas.lost else None):
                    await quotas.wanted.wait()
            quotas.wanted.clear()
            await self._round()
            await asyncio.sleep(ROUND)

    async def _round(self) -> None:
        accounts = list(self._quotas.accounts.values())
        try:
            for first in range(0, len(accounts), AT_ONCE):
                await self._tell(accounts[first : first + AT_ONCE])
        except (RedisError, OSError) as error:
            if not self._quotas.lost:
                way = "nobody with a quota is let in" if self._quotas.closed else "each scheduler counts for itself"
                self._log.warning(f"redis does not take what quotas were used; {way}", error=str(error))
            self._quotas.lost = True
        else:
            self._quotas.lost = False

    async def _tell(self, accounts: list[Account]) -> None:
        told = [account.used for account in accounts]
        arguments: list[Any] = [self._scheduler, int(LEASE * 1000)]
        for account, used in zip(accounts, told, strict=True):
            arguments += [account.quota.rate, account.quota.burst, used, account.in_flight]
        answer = await self._settle(keys=[quota_key(account.name) for account in accounts], args=arguments)
        now = time.monotonic()
        for account, used, level, others in zip(accounts, told, answer[::2], answer[1::2], strict=True):
            account.told(used, float(level), int(others), now)
