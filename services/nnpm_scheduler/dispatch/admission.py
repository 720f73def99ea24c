"""Decides whether a block is taken in: its header, its route, its signature. What was found is remembered by header."""

from dataclasses import dataclass

from nnpm.errors import DeadlineExceeded, Internal, NnpmError
from nnpm.queue.entry import Layout
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.header import read_header
from nnpm_scheduler.dispatch.routes import RevisionRoute, Routes
from nnpm_scheduler.dispatch.signature import Checked, check

MOST_REMEMBERED = 4_096
"""Headers kept for a table: clients choose names and shapes, so there may be any number of them."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a header leads to. `layout` is None where the worker has to parse the body; `cost` is one call's work."""

    route: RevisionRoute
    layout: Layout | None
    cost: int = 1


class Admission:
    """The checks that every block passes before it is in flight."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._signatures: dict[str, Checked] = {}
        self._admitted: dict[bytes, Admitted] = {}
        self._log = get_logger("admission")
        routes.watch(self._routes_changed)

    def admit(self, calls: Calls) -> Admitted:
        """Where a block goes. Raises NnpmError: what its calls are refused with."""
        if calls.timeout is not None and calls.timeout <= 0:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline had passed when it arrived")
        try:
            return self._known(calls)
        except NnpmError:
            raise
        except Exception as error:
            # A fault of ours that one request brings out must not take its turn's other calls with it.
            self._log.exception("a call could not be admitted for a fault of the scheduler")
            raise Internal(
                "INTERNAL_ERROR", f"a fault inside the scheduler ({type(error).__name__}); its log has the details"
            ) from error

    def _known(self, calls: Calls) -> Admitted:
        header = calls.header
        admitted = self._admitted.get(header) if header else None
        if admitted is None:
            admitted = self._examine(calls.body(), odd=not header)
            # A route without a warm replica may still be waited for, but not for as long as the table stands.
            if header and admitted.route.ready and len(self._admitted) < MOST_REMEMBERED:
                self._admitted[header] = admitted
        return admitted

    def _examine(self, body: bytes, *, odd: bool) -> Admitted:
        header = read_header(body)
        route = self._routes.resolve(header.model_name, header.model_version)
        layout = check(header, self._signature(route))
        # Of an odd body the transport knows no raw contents: it travels whole.
        return Admitted(route, None if odd else layout, _cost(route, layout))

    def _signature(self, route: RevisionRoute) -> Checked:
        checked = self._signatures.get(route.id)
        if checked is None:
            checked = self._signatures[route.id] = Checked.of(route.signature)
        return checked

    def _routes_changed(self) -> None:
        self._admitted.clear()
        for revision in [key for key in self._signatures if self._routes.revision(key) is None]:
            del self._signatures[revision]


def _cost(route: RevisionRoute, layout: Layout | None) -> int:
    """Rows, where requests are joined row by row; else every request counts as one."""
    if route.batch == 1 or layout is None or not layout.inputs or not layout.inputs[0].shape:
        return 1
    return max(1, layout.inputs[0].shape[0])
