"""How fast a revision's replicas are, as this scheduler sees it: how long a run takes, and how much gets done.

What gets done tells the rate only while something waits: then the replicas have all that they can take, and what this
scheduler gets of them, beside others, is what it sees.
"""

from math import exp

from nnpm_scheduler.dispatch.statistics import BatchFigures

MEMORY = 1.0
"""Seconds in which what was seen fades to a third; four runs, where these are longer."""

_RUNS = 4
_ENOUGH = 0.1
_GAIN = 0.2


class Pace:
    """Running means. `run` is the seconds of one run, 0 until there was one; `work` is what was done since `look`."""

    def __init__(self) -> None:
        self.run = 0.0
        self.work = 0
        self._since: float | None = None
        self._looked = 0.0
        self._seen = 0.0
        self._seconds = 0.0

    def ran(self, figures: BatchFigures) -> None:
        """A worker has run a batch."""
        ns = figures.compute_input_ns + figures.compute_infer_ns + figures.compute_output_ns
        self.run += (_GAIN if self.run else 1.0) * (ns / 1e9 - self.run)

    def look(self, now: float, *, waiting: bool) -> None:
        """Whether something waits now; to be told when that begins, ends, and in between."""
        since, self._since = self._since, now if waiting else None
        work, self.work = self.work, 0
        looked, self._looked = self._looked, now
        memory = max(MEMORY, _RUNS * self.run)
        if since is None:
            if waiting and now - looked > memory:
                self._seen = self._seconds = 0.0  # replicas may have come and gone
            return
        span = now - since
        if span < memory:  # else nobody looked, as when Redis was away
            fade = exp(-span / memory)
            self._seen = self._seen * fade + work
            self._seconds = self._seconds * fade + span

    def rate(self, ready: int, batch: int) -> float:
        """Work a second. Until enough was seen: at best."""
        if self._seconds >= max(_ENOUGH, self.run):
            return self._seen / self._seconds
        return self.at_best(ready, batch)

    def at_best(self, ready: int, batch: int) -> float:
        """Work a second, if replicas ran full batches all the time; 0 when not even a run was seen."""
        return ready * batch / self.run if self.run else 0.0
