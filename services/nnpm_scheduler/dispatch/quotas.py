"""What tenants and deployments may take: so many requests a second, so many at a time. Decided here, without waiting.

Each scheduler counts what it lets in, and every 50 ms it and Redis tell each other (`ledger.py`): what was used is
taken off a bucket that all share, and may leave it in debt, so that over seconds the rate holds however many schedulers
there are; within 50 ms each of them may let in what the bucket held.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnpm.errors import NnpmError
from nnpm_scheduler.dispatch.refusals import quota_exceeded, quota_unknown

EACH_OTHER = "*"
"""Stands for every tenant that has no quota of its own."""

MOST_ACCOUNTS = 4_096
"""Kept at rest: clients choose the names of tenants, so there may be any number of them."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Requests a second (a second's worth may come at once), and requests at a time; 0 = any number."""

    rate: float = 0.0
    in_flight: int = 0

    def __bool__(self) -> bool:
        return bool(self.rate or self.in_flight)

    @property
    def burst(self) -> float:
        """The most that the bucket holds."""
        return max(1.0, self.rate)


ANY = Quota()


class Account:
    """What one of them has taken. `used` is what Redis was not told yet; `others` are in flight at other schedulers."""

    __slots__ = ("_at", "in_flight", "level", "name", "others", "quota", "used")

    def __init__(self, name: str, quota: Quota, now: float) -> None:
        self.name = name
        self.quota = quota
        self.level = quota.burst
        self.used = 0
        self.in_flight = 0
        self.others = 0
        self._at = now

    def room(self, now: float) -> int:
        """How many more requests are within the quota."""
        quota, room = self.quota, 1 << 30
        if quota.rate:
            self.level = min(quota.burst, self.level + (now - self._at) * quota.rate)
            self._at = now
            room = int(self.level + 1e-9)
        if quota.in_flight:
            room = min(room, quota.in_flight - self.in_flight - self.others)
        return max(0, room)

    def take(self, requests: int) -> None:
        """So many are let in; a negative number: they were not, after all."""
        if self.quota.rate:
            self.level -= requests
        self.used += requests
        self.in_flight += requests

    def told(self, used: int, level: float, others: int, now: float) -> None:
        """Redis knows of so many used, and says what is left, and what is in flight elsewhere."""
        self.used -= used
        self.level = level - self.used
        self.others = others
        self._at = now

    @property
    def rests(self) -> bool:
        """Nothing would be lost with it."""
        return not self.in_flight and not self.used


@dataclass(slots=True)
class Quotas:
    """The accounts of this scheduler. `lost`: Redis did not answer; with `closed` nobody is let in then.

    Attributes:
        tenants: by name, and `*` for each of the others.
        wanted: set when Redis has something to be told.
    """

    tenants: Mapping[str, Quota] = field(default_factory=dict)
    closed: bool = False
    lost: bool = False
    accounts: dict[str, Account] = field(default_factory=dict)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, tenant: str, deployment: str, quota: Quota) -> Sequence[Account]:
        """The accounts that a call is charged to; most have none. Raises Unavailable QUOTA_UNKNOWN."""
        found = []
        if self.tenants and (own := self.tenants.get(tenant) or self.tenants.get(EACH_OTHER)):
            found.append(self._account(f"tenant:{tenant}", own))
        if quota:
            found.append(self._account(f"deployment:{deployment}", quota))
        if found and self.lost and self.closed:
            raise quota_unknown()
        return found

    def grant(self, accounts: Sequence[Account], requests: int) -> int:
        """Lets in as many of them as are within every quota; returns how many."""
        now = time.monotonic()
        granted = min(requests, *[account.room(now) for account in accounts])
        for account in accounts:
            account.take(granted)
        self.wanted.set()
        return granted

    def ungrant(self, accounts: Sequence[Account], requests: int) -> None:
        """They were refused for another reason."""
        for account in accounts:
            account.take(-requests)

    def landed(self, accounts: Sequence[Account], requests: int) -> None:
        """So many have ended."""
        for account in accounts:
            account.in_flight -= requests
            self.wanted.set()

    @staticmethod
    def exceeded(accounts: Sequence[Account]) -> NnpmError:
        """What is beyond a quota is refused with."""
        now = time.monotonic()
        account = min(accounts, key=lambda each: each.room(now))
        quota = account.quota
        if quota.rate and account.level < 1:
            return quota_exceeded(account.name, f"{quota.rate:g} requests a second", (1 - account.level) / quota.rate)
        return quota_exceeded(account.name, f"{quota.in_flight} requests at a time", 0.1)

    def _account(self, name: str, quota: Quota) -> Account:
        account = self.accounts.get(name)
        if account is None:
            if len(self.accounts) >= MOST_ACCOUNTS:
                self.accounts = {name: account for name, account in self.accounts.items() if not account.rests}
            account = self.accounts[name] = Account(name, quota, time.monotonic())
        elif account.quota is not quota and account.quota != quota:
            account.quota = quota
        return account


def read_quotas(text: str) -> dict[str, Quota]:
    """`gold=100/50,silver=10,*=/5`: requests a second, then requests at a time. Raises ValueError."""
    quotas: dict[str, Quota] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        tenant, _, numbers = item.rpartition("=")
        rate, _, in_flight = numbers.partition("/")
        try:
            quota = Quota(float(rate or 0), int(in_flight or 0))
        except ValueError:
            quota = ANY
        if not tenant or not quota or not 0 <= quota.rate < 1e9 or quota.in_flight < 0:
            raise ValueError(f"{item!r} is not TENANT=RATE/IN_FLIGHT with one of them above 0")
        quotas[tenant.strip()] = quota
    return quotas
