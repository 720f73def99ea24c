"""The door: a block that was admitted is within its quotas and will be answered in time, or is refused at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nnpm.errors import NnpmError
from nnpm_scheduler.dispatch.admission import Admitted
from nnpm_scheduler.dispatch.alarms import Alarms
from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.inflight import InFlight
from nnpm_scheduler.dispatch.meter import Meter
from nnpm_scheduler.dispatch.queues import Queues
from nnpm_scheduler.dispatch.quotas import ANY, Account, Quotas
from nnpm_scheduler.dispatch.refusals import overloaded, refuse
from nnpm_scheduler.dispatch.sharing import Sharing
from nnpm_scheduler.dispatch.standing import Standing
from nnpm_scheduler.dispatch.tracing import CallSpan
from nnpm_scheduler.dispatch.window import share_of

CAUTION = 1.25
"""What is predicted is off by a run or two, and under load every call that is taken in waits as long as it may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a call without a deadline may take; bytes above which a request travels alone; who goes first."""

    timeout: float
    alone_above: int
    sharing: Sharing = field(default_factory=Sharing)


class Boarding:
    """Takes blocks in flight, in pieces that each fit an entry."""

    def __init__(
        self, inflight: InFlight, queues: Queues, meter: Meter, *, alarms: Alarms, quotas: Quotas, limits: Limits
    ) -> None:
        self._inflight = inflight
        self._queues = queues
        self._meter = meter
        self._alarms = alarms
        self._quotas = quotas
        self._limits = limits

    def refuse(self, calls: Calls, span: CallSpan | None, error: NnpmError) -> None:
        """They were never in flight."""
        self._meter.refused(error, refuse(calls, error))
        if span is not None:
            span.end(error)

    def board(self, calls: Calls, span: CallSpan | None, admitted: Admitted, standing: Standing, now: int) -> None:
        """Each of them is in flight afterwards, or refused. Raises Unavailable QUOTA_UNKNOWN."""
        route, quotas = admitted.route, self._quotas
        accounts: Sequence[Account] = ()
        if quotas.tenants or route.quota is not ANY:
            accounts = quotas.of(standing.tenant, route.deployment, route.quota)
            within = self._within(accounts, calls, span) if accounts else calls
            if within is None:
                return
            calls = within
        window = self._queues.touch(route.id)
        timeout, count = calls.timeout, len(calls)
        if timeout is None:
            timeout = self._limits.timeout
        share = share_of(count, ready=route.ready, batch=route.batch)
        if calls.size > self._limits.alone_above * count:
            share = 1
        deadline = now / 1e9 + timeout
        while True:
            piece = calls.split(share) if len(calls) > share else calls
            if wait := window.too_late(len(piece), admitted, standing, deadline, timeout / CAUTION):
                self._quotas.ungrant(accounts, len(piece))
                self.refuse(piece, span, overloaded(wait * CAUTION, timeout))
            else:
                flight = self._inflight.admit(piece, admitted, now, deadline, span)
                flight.standing, flight.accounts = standing, accounts
                self._meter.accepted(flight)
                self._alarms.set(flight)
                window.add(flight)
            if piece is calls:
                return

    def _within(self, accounts: Sequence[Account], calls: Calls, span: CallSpan | None) -> Calls | None:
        """Those that are within the quotas; the others are refused."""
        granted = self._quotas.grant(accounts, len(calls))
        if granted == len(calls):
            return calls
        within = calls.split(granted) if granted else None
        self.refuse(calls, span, self._quotas.exceeded(accounts))
        return within
