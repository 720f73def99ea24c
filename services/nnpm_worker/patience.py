"""How long a batch waits for company: as long as waiting shortens the sum, by what was measured, and no longer.

Three things are learned. What a run costs by its rows. After so many rows were answered, how long it takes until as
many have arrived again: who waits for an answer sends the next request when it comes. And what share of them comes back
at all. Waiting for those still missing costs what is left of that time; running them apart costs a run of its own. With
one request in flight nothing is missing when it arrives, so it never waits.

All times are seconds on one monotonic clock.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_WEIGHT = 0.1
"""Of a new measurement of a cost, and of the share that comes back."""

_RETURN_WEIGHT = 0.2
_FIRST_RETURN = 0.001
_PATIENCE = 1.5
"""Times the mean return: about how long the last ones take."""

_GRACE = 50e-6
_OUTLIER = 3.0
_MOST_OPEN = 4
_FINE = 64


class Costs:
    """What a run takes, by its rows: moving averages at the sizes that came, straight lines between them."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._costs: list[float] = []

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def learn(self, rows: int, seconds: float) -> None:
        """A run of so many rows took so long. (One that was disturbed counts as three times the usual, at most.)"""
        size = _rounded(rows)
        at = bisect_left(self._sizes, size)
        if at == len(self._sizes) or self._sizes[at] != size:
            self._sizes.insert(at, size)
            self._costs.insert(at, seconds)
        else:
            known = self._costs[at]
            self._costs[at] += _WEIGHT * (min(seconds, _OUTLIER * known) - known)

    def of(self, rows: float) -> float:
        """What a run of so many rows will take; 0 while nothing was measured.

        Below the sizes that are known as much as the smallest; above them on the line through the smallest and the
        largest.
        """
        sizes, costs = self._sizes, self._costs
        if not sizes or rows <= 0:
            return 0.0
        if rows <= sizes[0]:
            return costs[0]
        if len(sizes) == 1:
            return costs[0] * rows / sizes[0]
        at = bisect_left(sizes, rows)
        low, high = (0, len(sizes) - 1) if at == len(sizes) else (at - 1, at)
        slope = (costs[high] - costs[low]) / (sizes[high] - sizes[low])
        return costs[low] + max(0.0, slope) * (rows - sizes[low])


@dataclass(slots=True)
class _Answered:
    """So many rows were answered at a time; so many have arrived since."""

    rows: int
    at: float
    arrived: int = 0


class Returns:
    """How long it takes until as many rows have arrived as were answered, by powers of two; and the share that does."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._open: deque[_Answered] = deque()
        self._last: _Answered | None = None
        self.share = 1.0

    def arrived(self, rows: int, at: float) -> None:
        """Rows were sent by their clients at that time, not when they were read here."""
        for answered in list(self._open):
            if at <= answered.at:
                continue
            answered.arrived += rows
            if answered.arrived >= answered.rows:
                self._learn(answered, at - answered.at)
                self._open.remove(answered)

    def answered(self, rows: int, at: float) -> None:
        """A batch of so many rows was answered."""
        self._last = _Answered(rows, at)
        self._open.append(self._last)
        while len(self._open) > _MOST_OPEN:
            self._miss(self._open.popleft())

    def missing(self, now: float) -> tuple[float, float]:
        """How many rows of the last batch are yet to come back, and how long until they have; (0, 0) when none are."""
        last = self._last
        if last is None:
            return 0.0, 0.0
        missing = self.share * last.rows - last.arrived
        left = last.at + _PATIENCE * self.expected(last.rows) + _GRACE - now
        if left <= 0:
            # Counted once: those that did not come in time are not waited for again.
            self._last = None
            if last in self._open and last.arrived < last.rows:
                self._open.remove(last)
                self._miss(last)
        return (missing, left) if missing > 0 and left > 0 else (0.0, 0.0)

    def expected(self, rows: int) -> float:
        """Seconds until so many have come back."""
        bucket = rows.bit_length()
        if bucket not in self._seconds:
            known = self._seconds.get(bucket - 1)
            self._seconds[bucket] = _FIRST_RETURN if known is None else 1.5 * known
        return self._seconds[bucket]

    def _learn(self, answered: _Answered, seconds: float) -> None:
        self.share += _WEIGHT * (1 - self.share)
        known = self.expected(answered.rows)
        # What takes far longer is no return, but the next request of somebody who thought about it.
        if seconds < 4 * known + 0.002:
            self._seconds[answered.rows.bit_length()] = known + _RETURN_WEIGHT * (seconds - known)

    def _miss(self, answered: _Answered) -> None:
        self.share += _WEIGHT * (answered.arrived / answered.rows - self.share)


class Patience:
    """Decides for one model whether its next batch waits.

    Args:
        most_rows: of a batch.
        longest: a request waits no longer than this; None = what is learned decides.
        preferred: sizes at which a batch does not wait.
    """

    def __init__(self, most_rows: int, longest: float | None = None, preferred: Sequence[int] = ()) -> None:
        self._most = most_rows
        self._longest = longest
        self._preferred = frozenset(preferred)
        self.costs = Costs()
        self.returns = Returns()

    def fitting(self, rows: int) -> int:
        """The largest batch to make of so many: the largest of the preferred sizes that they fill, if they fill one."""
        filled = [size for size in self._preferred if size <= rows]
        return min(self._most, max(filled)) if filled else self._most

    def seconds(self, rows: int, since: float, now: float) -> float:
        """How long to wait yet, unless something arrives; 0 = run now.

        Args:
            rows: that are here.
            since: when the oldest of them came.
            now: is asked.
        """
        if rows >= self._most or any(size <= rows for size in self._preferred):
            return 0.0
        if self._longest is not None:
            return max(0.0, since + self._longest - now)
        missing, left = self.returns.missing(now)
        missing = min(missing, self._most - rows)
        if missing < 0.5:
            return 0.0
        saved = self.costs.of(rows) + self.costs.of(missing) - self.costs.of(rows + missing)
        return left if saved >= left else 0.0


def _rounded(rows: int) -> int:
    """Exact up to 64, then to about three per cent, so that few sizes are kept however many there are."""
    step = max(1, 1 << max(0, rows.bit_length() - _FINE.bit_length() + 1))
    return rows if rows <= _FINE else rows // step * step
