"""How long entries are out, and how many may be, where several schedulers share replicas whose runs are long.

What is out for longer than its run lay behind what others had let out: then each lets out less, by a share of what it
has; else a little more, up to one for each replica. So they come to have equally many, together as many as are run, and
what is urgent does not lie behind what was let out too early. (TCP's congestion control, Chiu and Jain 1989.)
"""

import math

SLACK, SLACK_RUNS = 0.004, 0.25
"""Seconds, and runs, that an entry may be out for longer than it runs."""

_LESS, _MORE = 0.97, 0.05


class Turnaround:
    """Of one revision at this scheduler."""

    def __init__(self) -> None:
        self.schedulers = 1
        """That are there, this one included: nobody lets out less than a share of equals."""
        self.seconds = 0.0
        """From an entry's beginning, as far as it is known here, to its answer; a running mean."""
        self.open = math.inf
        """Entries."""

    def ended(self, ended: list[tuple[float, float]], now: float, ready: int, run: float, *, waited: bool) -> None:
        """Those that began at the first time, and ran for the second, are answered now."""
        for since, ran in ended:
            self.seconds += 0.2 * (now - since - self.seconds) if self.seconds else now - since
            if not waited:
                continue
            kept = min(self.open, ready)
            behind = now - since - ran > SLACK_RUNS * run + SLACK
            self.open = max(1.0, ready / self.schedulers, kept * _LESS) if behind else min(ready, kept + _MORE)
