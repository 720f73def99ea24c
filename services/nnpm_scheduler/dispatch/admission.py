"""Decides whether a call is taken in: its deadline, its header, its route, its signature, the bounds. In this order."""

import time

from nnpm.errors import DeadlineExceeded
from nnpm_scheduler.dispatch.call import Call
from nnpm_scheduler.dispatch.header import read_header
from nnpm_scheduler.dispatch.inflight import Flight, InFlight
from nnpm_scheduler.dispatch.routes import RevisionRoute, Routes
from nnpm_scheduler.dispatch.signature import Checked, check


class Admission:
    """The checks that every call passes before it is in flight.

    Args:
        default_timeout: seconds that a call without a deadline may take.
    """

    def __init__(self, routes: Routes, inflight: InFlight, *, default_timeout: float) -> None:
        self._routes = routes
        self._inflight = inflight
        self._default_timeout = default_timeout
        self._signatures: dict[str, Checked] = {}
        routes.watch(self._forget_retired)

    def admit(self, call: Call) -> Flight:
        """Takes a call in; raises what it is refused with."""
        now = time.monotonic_ns()
        deadline = now / 1e9 + self._default_timeout if call.deadline is None else call.deadline
        if deadline * 1e9 <= now:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline had passed when it arrived")
        header = read_header(call.body)
        call.id = header.id
        route = self._routes.resolve(header.model_name, header.model_version)
        layout = check(header, self._signature(route))
        return self._inflight.admit(call, route.id, layout, now, deadline)

    def _signature(self, route: RevisionRoute) -> Checked:
        checked = self._signatures.get(route.id)
        if checked is None:
            checked = self._signatures[route.id] = Checked.of(route.signature)
        return checked

    def _forget_retired(self) -> None:
        for revision in [key for key in self._signatures if self._routes.revision(key) is None]:
            del self._signatures[revision]
