"""Looks after entries that are not answered: are they still in Redis, and in whose hands?

Unread, or in the hands of a worker that lives: nothing to do. Gone: the requests go back to the queue. In other hands:
*take back*, which is XDEL, then XACK, and each unanswered request goes to the head of the queue as a suspect. Only a
suspect that those hands had begun waits for a lease: it would be called poison, and a broken Session proves nothing.
One whose entry is gone while a lost worker had begun it counts as in those hands, or it would kill a third worker.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.queue.keys import GROUP, requests_key
from nnpm.queue.schedulers import LEASE
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.inflight import InFlight, Posted

AT_ONCE = 1_000
"""Entries asked about in one script, about 15 ms of Redis."""

_UNREAD, _GONE = b"+", b"-"

# XPENDING first: an entry that was read and then deleted is still in its reader's hands. An entry that exists, is not
# pending, and lies before the group's last delivered id was read and forgotten (its consumer was deleted): no worker
# will ever be given it again, so it counts as gone.
_WHERE = """
local function after(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if am ~= bm then return tonumber(am) > tonumber(bm) end
  return tonumber(as) > tonumber(bs)
end
local delivered = nil
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if not groups.err then
  for _, group in ipairs(groups) do
    local fields = {}
    for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
    if fields['name'] == ARGV[1] then delivered = fields['last-delivered-id'] end
  end
end
local found = {}
for i = 2, #ARGV do
  local id, where = ARGV[i], nil
  if delivered then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
    if #pending > 0 then where = pending[1][2] end
  end
  if not where then
    if #redis.call('XRANGE', KEYS[1], id, id) == 0 then where = '-'
    elseif delivered and not after(id, delivered) then where = '-'
    else where = '+' end
  end
  found[#found + 1] = where
end
return found
"""


class Workers(Protocol):
    """What is known about the workers, by their Sessions."""

    def live(self) -> Collection[str]:
        """Incarnations that have a Session now."""

    def away(self, worker: str) -> float:
        """Seconds since that incarnation lost its Session; infinite where nothing is known of one."""

    def cancel(self, revision: str, numbers: Sequence[int]) -> None:
        """Tells the workers that have the revision that nobody waits for these any more."""


class Recovery(Protocol):
    """What becomes of entries that an audit found."""

    def put_back(self, entry: Posted) -> None:
        """Its requests wait in memory again, as if they had never been written."""

    def take_back(self, entry: Posted, worker: str) -> None:
        """As `put_back`, but that worker died with them in hand."""


class Auditor:
    """Audits everything when a Session or a Redis connection broke, and what is older than a lease once a lease."""

    def __init__(
        self, redis: Redis, inflight: InFlight, workers: Workers, recovery: Recovery, wanted: asyncio.Event
    ) -> None:
        self._redis = redis
        self._inflight = inflight
        self._workers = workers
        self._recovery = recovery
        self._wanted = wanted
        self._where = redis.register_script(_WHERE)
        self._log = get_logger("audit")

    async def run(self) -> None:
        """Audits until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LEASE):
                    await self._wanted.wait()
                age = 0.0
            except TimeoutError:
                age = LEASE
            self._wanted.clear()
            try:
                await self.sweep(age)
            except (RedisError, OSError) as error:
                # Whoever finds Redis again asks for another audit.
                self._log.info("audit put off: redis does not answer", error=str(error))

    async def sweep(self, age: float) -> None:
        """Asks Redis about every unanswered entry that was written at least `age` seconds ago."""
        now = time.monotonic()
        by_revision: defaultdict[str, list[Posted]] = defaultdict(list)
        for entry in self._inflight.entries():
            if entry.id and now - entry.at >= age:
                by_revision[entry.revision].append(entry)
        for revision, entries in by_revision.items():
            for at in range(0, len(entries), AT_ONCE):
                await self._audit(revision, entries[at : at + AT_ONCE])

    async def _audit(self, revision: str, entries: Sequence[Posted]) -> None:
        key = requests_key(revision)
        found = await self._where(keys=[key], args=[GROUP, *(entry.id for entry in entries)])
        live = {incarnation.encode() for incarnation in self._workers.live()}
        gone: list[Posted] = []
        orphaned: dict[Posted, bytes] = {}
        for entry, at in zip(entries, found, strict=True):
            where = _lost_hands(entry, live) or _GONE if at == _GONE else at
            if where == _GONE:
                gone.append(entry)
            elif where != _UNREAD and where not in live and not self._may_return(entry, where.decode()):
                orphaned[entry] = where
        if orphaned:
            ids = [entry.id for entry in orphaned]
            pipe = self._redis.pipeline(transaction=False)
            pipe.xdel(key, *ids)
            pipe.xack(key, GROUP, *ids)
            await pipe.execute()
            self._log.warning("took entries back from a lost worker", revision=revision, entries=len(orphaned))
        if gone:
            self._log.warning("entries vanished from redis and are written again", revision=revision, entries=len(gone))
        for entry, worker in orphaned.items():
            self._recovery.take_back(entry, worker.decode())
        for entry in gone:
            self._recovery.put_back(entry)

    def _may_return(self, entry: Posted, worker: str) -> bool:
        """Whether a worker runs this suspect that may only have lost its connection."""
        begun = any(flight.suspect and flight.begun_by == worker for flight in entry.flights)
        return begun and self._workers.away(worker) < LEASE


def _lost_hands(entry: Posted, live: Collection[bytes]) -> bytes:
    """The worker without a Session that had begun a suspect; empty where there is none."""
    begun = (flight.begun_by.encode() for flight in entry.flights if flight.suspect)
    return next((worker for worker in begun if worker and worker not in live), b"")
