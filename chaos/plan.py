"""Which fault happens when, to whom, for how long: drawn from a seed, so that a run can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        of: what it befalls: `worker`, `scheduler` or `redis`.
        seconds: the shortest and the longest time for which it lasts; 0 for what happens at once.
    """

    name: str
    of: str
    seconds: tuple[float, float] = (0.0, 0.0)


KINDS = (
    Kind("kill-worker", "worker"),
    Kind("freeze-worker", "worker", (0.3, 6.0)),
    Kind("stop-worker", "worker"),
    Kind("jump-clock", "worker"),
    Kind("cut-worker", "worker", (0.5, 6.0)),
    Kind("slow-worker", "worker", (1.0, 5.0)),
    Kind("cut-sessions", "worker", (0.5, 6.0)),
    Kind("kill-scheduler", "scheduler"),
    Kind("freeze-scheduler", "scheduler", (0.3, 4.0)),
    Kind("cut-scheduler", "scheduler", (0.5, 4.0)),
    Kind("cut-mesh", "scheduler", (0.5, 4.0)),
    Kind("slow-mesh", "scheduler", (1.0, 5.0)),
    Kind("kill-redis", "redis", (0.1, 2.0)),
    Kind("freeze-redis", "redis", (0.3, 4.0)),
    Kind("flush-redis", "redis"),
    Kind("lose-tail", "redis", (0.1, 1.0)),
    Kind("fill-redis", "redis", (0.5, 3.0)),
    Kind("slow-disk", "redis", (1.0, 4.0)),
)
NAMES = tuple(kind.name for kind in KINDS)

FIRST, PAUSE = 1.0, (0.6, 2.4)
"""Seconds before the first fault, and the shortest and longest pause between two."""
RECOVERY = 3.0
"""Seconds after a fault's end in which what it befell is left alone."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at` seconds after the load's begin, for `seconds`."""

    at: float
    kind: str
    target: str
    seconds: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:5.1f} s  {self.kind} {self.target}{lasting}"


def draw(seed: int, seconds: float, *, schedulers: int, workers: int, kinds: Sequence[str] = NAMES) -> list[Fault]:
    """Faults for so many seconds. Every kind comes once before any comes again.

    What is left whole at any time: one scheduler, half of the workers (rounded down, one at least). Two faults never
    befall the same process.
    """
    dice = Random(f"faults {seed}")  # noqa: S311 -- to be repeated
    members = {
        "worker": [f"worker-{number}" for number in range(workers)],
        "scheduler": [f"scheduler-{number}" for number in range(schedulers)],
        "redis": ["redis"],
    }
    at_once = {"worker": max(1, workers // 2), "scheduler": max(1, schedulers - 1), "redis": 1}
    known = {kind.name: kind for kind in KINDS}
    faults: list[Fault] = []
    free_at: dict[str, float] = {}
    deck: list[str] = []
    at = FIRST
    while at < seconds:
        if not deck:
            deck = list(kinds)
            dice.shuffle(deck)
        name = next((name for name in deck if _free(members, free_at, at_once, known[name].of, at)), "")
        if name:
            deck.remove(name)
            kind = known[name]
            target = dice.choice(_free(members, free_at, at_once, kind.of, at))
            fault = Fault(
                round(at, 2), name, target, round(min(dice.uniform(*kind.seconds), max(0.2, seconds - at)), 2)
            )
            faults.append(fault)
            free_at[target] = at + fault.seconds + RECOVERY
        at += dice.uniform(*PAUSE)
    return faults


def _free(
    members: dict[str, list[str]], free_at: dict[str, float], at_once: dict[str, int], of: str, at: float
) -> list[str]:
    """Who may be hit now."""
    free = [name for name in members[of] if free_at.get(name, 0.0) <= at]
    return free if len(members[of]) - len(free) < at_once[of] else []
