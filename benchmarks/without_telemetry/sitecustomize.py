"""Python runs this first in processes that have its folder on PYTHONPATH: their figures and spans then cost nothing.

`scripts/bench --telemetry` compares such a mesh with one as it is. ModelStatistics go on, for they count the successes.
"""

from collections.abc import Callable, Sequence

from prometheus_client import Counter, Gauge

from nnpm.telemetry.histograms import WeightedHistogram
from nnpm_scheduler.dispatch.call import Calls
from nnpm_scheduler.dispatch.tracing import CallTracer


def _nothing(*_: object) -> None:
    pass


def _unseen(_: CallTracer, calls: Calls) -> Sequence[tuple[Calls, None]]:
    return ((calls, None),)


_REPLACED: tuple[tuple[type, str, Callable[..., object]], ...] = (
    (Counter, "inc", _nothing),
    (Gauge, "inc", _nothing),
    (Gauge, "dec", _nothing),
    (WeightedHistogram, "observe", _nothing),
    (CallTracer, "begin", _unseen),
)
for _owner, _name, _replacement in _REPLACED:
    setattr(_owner, _name, _replacement)
