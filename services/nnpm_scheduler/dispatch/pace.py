"""How fast a revision's replicas are, as this scheduler sees it: how long a run takes, and how much gets done.

What gets done tells the rate only while something waits: then the replicas have all that they can take, and what this
scheduler gets of them, beside others, is what it sees. Too little seen tells nothing, and neither does a time in which
nothing is answered at all: workers that are out of reach are an outage, and no sign of how fast they are.
"""

from math import exp

from nnpm_scheduler.dispatch.statistics import BatchFigures

MEMORY = 1.0
"""Seconds in which what was seen fades to a third, and that it takes at first; four runs, where those are longer."""

OUTAGE = 0.5
"""Seconds without an answer, while something waits, after which nothing is known; or three runs, if longer."""

_RUNS, _RUNS_MISSED = 4, 3
_GAIN = 0.2
_SLOWING = 1.05


class Pace:
    """Running means. `run` is the seconds of one run, 0 until there was one; `last` those of the last one; `work` was
    answered since `look`."""

    def __init__(self) -> None:
        self.run = self.last = 0.0
        self.work = 0
        self._quickest = 0.0
        self._runs = 0
        self._since: float | None = None
        self._looked = self._answered = 0.0
        self._seen = self._seconds = self._watched = 0.0
        self._outage = False

    def ran(self, figures: BatchFigures) -> None:
        """A worker has run a batch."""
        seconds = (figures.compute_input_ns + figures.compute_infer_ns + figures.compute_output_ns) / 1e9
        self.last = seconds
        self.run += (_GAIN if self._runs else 1.0) * (seconds - self.run)
        self._quickest = min(seconds, self._quickest * _SLOWING) if self._runs else seconds
        self._runs += 1

    def look(self, now: float, *, waiting: bool) -> None:
        """Whether something waits now; to be told when that begins, ends, and in between."""
        since, self._since = self._since, now if waiting else None
        work, self.work = self.work, 0
        looked, self._looked = self._looked, now
        memory, silence = max(MEMORY, _RUNS * self.run), max(OUTAGE, _RUNS_MISSED * self.run)
        if since is None:
            self._outage, self._answered = False, now
            if waiting and now - looked > memory:
                self._forget()  # replicas may have come and gone
            return
        silent = now - self._answered > silence
        if work:
            self._answered = now
        self._outage = silent and not work
        if silent or now - since > memory:  # nothing came, or nobody looked, as when Redis was away
            self._forget()
            return
        span = now - since
        fade = exp(-span / memory)
        self._seen = self._seen * fade + work
        self._seconds = self._seconds * fade + span
        self._watched += span

    def rate(self, ready: int, batch: int) -> float:
        """Work a second, while something waits; until enough was seen at best, and 0 when nothing is known."""
        if self._outage:
            return 0.0
        if self._watched >= max(MEMORY, _RUNS * self.run):
            return self._seen / self._seconds
        return self.at_best(ready, batch)

    def at_best(self, ready: int, batch: int) -> float:
        """Work a second, if replicas ran full batches all the time, as fast as they can; 0 before a few runs."""
        return ready * batch / self._quickest if self._runs >= _RUNS and self._quickest else 0.0

    def _forget(self) -> None:
        self._seen = self._seconds = self._watched = 0.0
