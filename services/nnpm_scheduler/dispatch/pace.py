"""How fast a revision's replicas are, as this scheduler sees it: how long a run takes, and how much leaves.

What leaves tells the rate only while something waits: then the replicas have all that they can take, and what this
scheduler gets of them, beside others, is what it sees.
"""

from nnpm_scheduler.dispatch.statistics import BatchFigures

INTERVAL = 0.1
"""Seconds over which what leaves is counted."""

_RUN_GAIN = 0.2
_RATE_GAIN = 0.3


class Pace:
    """Running means. `run` is the seconds of one run, 0 until there was one."""

    def __init__(self) -> None:
        self.run = 0.0
        self.rate: float | None = None
        """Work a second while something waits; None until that was seen."""
        self.work = 0
        """That is answered, since `look` was told last that something begins to wait."""
        self._since: float | None = None

    def ran(self, figures: BatchFigures) -> None:
        """A worker has run a batch."""
        ns = figures.compute_input_ns + figures.compute_infer_ns + figures.compute_output_ns
        self.run += (_RUN_GAIN if self.run else 1.0) * (ns / 1e9 - self.run)

    def look(self, now: float, *, waiting: bool) -> None:
        """Whether something waits now; to be told when that begins, ends, and in between."""
        if not waiting:
            self._since = None
            return
        if self._since is None:
            self._since, self.work = now, 0
        elif now - self._since >= INTERVAL:
            rate = self.work / (now - self._since)
            self.rate = rate if self.rate is None else self.rate + _RATE_GAIN * (rate - self.rate)
            self._since, self.work = now, 0
