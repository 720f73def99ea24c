"""Runs the reconciliation: after every change, and while something is to be expected by time alone.

Every scheduler computes the plan, because its own routes follow from it. Only the leader carries it out.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from nnpm.errors import NnpmError
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.failures import LoadFailures
from nnpm_scheduler.control.fleet import Fleet
from nnpm_scheduler.control.leadership import Leadership
from nnpm_scheduler.control.reconcile import Observed, Plan, reconcile
from nnpm_scheduler.control.routing import route_table
from nnpm_scheduler.control.sessions import Sessions
from nnpm_scheduler.control.status import View
from nnpm_scheduler.control.store import Store
from nnpm_scheduler.dispatch.routes import Routes

SETTLE = 1.5
"""Seconds after its start in which a scheduler loads nothing: workers that have a revision already come back first."""

SHORT_LOOK = 0.05
"""Seconds until the next look while something drains."""

LONG_LOOK = 0.5


class Traffic(Protocol):
    """What the dispatch path tells of the calls in flight."""

    def outstanding(self, revision: str) -> int:
        """How many calls the revision still has to answer."""
        ...


class Reconciler:
    """Brings what is observed to what is desired, and the routes to both."""

    def __init__(
        self,
        *,
        desired: DesiredState,
        fleet: Fleet,
        failures: LoadFailures,
        sessions: Sessions,
        leadership: Leadership,
        store: Store,
        routes: Routes,
        traffic: Traffic,
        changes: Changes,
    ) -> None:
        self._desired = desired
        self._fleet = fleet
        self._failures = failures
        self._sessions = sessions
        self._leadership = leadership
        self._store = store
        self._routes = routes
        self._traffic = traffic
        self._changes = changes
        self._draining: Mapping[str, float] = {}
        self._shortages: Mapping[str, str] = {}
        self._departed: set[str] = set()
        self._log = get_logger("reconciler")

    def view(self) -> View:
        """What a deployment's status is derived from."""
        return View(self._fleet.workers, self._failures.snapshot(), self._shortages)

    async def run(self) -> None:
        """Reconciles until cancelled."""
        # Nothing can be loaded already where nothing was deployed before.
        settled = time.monotonic() + (SETTLE if self._desired.deployments else 0.0)
        while True:
            seen = self._changes.count
            plan = self.plan()
            try:
                await self._carry_out(plan, may_load=time.monotonic() >= settled)
            except NnpmError as error:
                self._log.warning("a change of state could not be stored; it is tried again", error=str(error))
                await asyncio.sleep(LONG_LOOK)
            await self._changes.wait(seen, SHORT_LOOK if plan.draining else LONG_LOOK)

    def plan(self) -> Plan:
        """What is to be done now; the routes follow at once."""
        observed = Observed(
            workers=self._fleet.workers,
            failures=self._failures.snapshot(),
            draining=self._draining,
            outstanding=self._traffic.outstanding,
            now=time.monotonic(),
        )
        plan = reconcile(self._desired.deployments, observed)
        self._draining = plan.draining
        if plan.shortages != self._shortages:
            self._shortages = plan.shortages
            self._changes.bump()
        table = route_table(self._desired.deployments, observed.workers, plan.answering, self._routes.table)
        if table != self._routes.table:
            self._routes.replace(table)
        return plan

    async def _carry_out(self, plan: Plan, *, may_load: bool) -> None:
        token = self._leadership.token
        if token is None:
            return
        revisions = {
            revision.id: revision for deployment in self._desired.deployments for revision in deployment.wanted()
        }
        for unload in plan.unloads:
            self._sessions.unload(unload.worker, token, unload.revision)
        for load in plan.loads if may_load else ():
            self._log.info("a revision is placed", revision=load.revision, worker=load.worker)
            self._sessions.load(load.worker, token, revisions[load.revision])
        for worker in set(plan.departures) - self._departed:
            self._sessions.drain(worker)
        self._departed = set(plan.departures)
        for promotion in plan.promotions:
            name, number = promotion.deployment.name, promotion.revision.number
            self._log.info("a revision takes over", deployment=name, revision=number)
            await self._store.promote(promotion.deployment.uid, number)
        for rejection in plan.rejections:
            newest = rejection.deployment.newest
            self._log.warning("a revision is given up", deployment=rejection.deployment.name, revision=newest.number)
            await self._store.set_failure(rejection.deployment.uid, newest.number, rejection.failure)
        if plan.promotions or plan.rejections:
            await self._desired.refresh()
