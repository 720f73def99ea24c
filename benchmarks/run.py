"""One run: start everybody, measure every point in alternation, stop everybody."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from benchmarks import proc_stat
from benchmarks.contestant import Contestant
from benchmarks.points import Point
from benchmarks.sample import Measured, Sample, median_of

FIRST_REQUESTS = 20
"""For the very first run of a point, which only tells roughly how fast the server is."""

Say = Callable[[str], None]
Results = Mapping[Point, Mapping[str, Measured]]


def measure_all(
    contestants: Sequence[Contestant], points: Sequence[Point], *, rounds: int, seconds: float, say: Say
) -> tuple[Results, float]:
    """Medians by point and contestant, and the share of the machine that all servers take while nothing is asked.

    A round goes through all points, and at each point through all contestants; every round begins with another one.
    Raises StartError, LoadError.
    """
    with ExitStack() as started:
        for contestant in contestants:
            say(f"starting {contestant.name}: {contestant.settings}")
            started.callback(contestant.stop)
            contestant.start()
        pace = Pace(seconds)
        for point in points:
            for contestant in _those(contestants, point):
                contestant.check(point)
                pace.learn(contestant, point)
        idle = _idle_share()
        samples: dict[tuple[Point, str], list[Sample]] = {}
        for number in range(rounds):
            for point in points:
                taking_part = _those(contestants, point)
                first = number % len(taking_part) if taking_part else 0
                for contestant in taking_part[first:] + taking_part[:first]:
                    sample = pace.measure(contestant, point)
                    samples.setdefault((point, contestant.name), []).append(sample)
                    say(_line(number, point, contestant, sample))
    order = [contestant.name for contestant in contestants]
    return {
        point: {name: median_of(samples[point, name]) for name in order if (point, name) in samples} for point in points
    }, idle


class Pace:
    """How many requests make a run of the wanted length, by contestant and point, from how fast the last run was."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rates: dict[tuple[str, Point], float] = {}

    def learn(self, contestant: Contestant, point: Point) -> None:
        """Two warm-up runs, the second about as long as a measurement."""
        few = contestant.measure(point, max(FIRST_REQUESTS, 4 * point.in_flight))
        self._rates[contestant.name, point] = few.per_second
        self.measure(contestant, point)

    def measure(self, contestant: Contestant, point: Point) -> Sample:
        """One run, whose rate sets the length of the next."""
        rate = self._rates[contestant.name, point]
        sample = contestant.measure(point, self.requests(rate, point.in_flight))
        self._rates[contestant.name, point] = sample.per_second
        return sample

    def requests(self, rate: float, in_flight: int) -> int:
        """A multiple of `in_flight`, and at least four times as many."""
        return max(4, round(rate * self._seconds / in_flight)) * in_flight


def _those(contestants: Sequence[Contestant], point: Point) -> list[Contestant]:
    return [contestant for contestant in contestants if contestant.serves(point)]


def _idle_share() -> float:
    """Of one core."""
    begin, used = time.monotonic(), proc_stat.machine_seconds()
    time.sleep(2.0)
    return (proc_stat.machine_seconds() - used) / (time.monotonic() - begin)


def _line(number: int, point: Point, contestant: Contestant, sample: Sample) -> str:
    return (
        f"round {number + 1}  {point.case:<12} {point.in_flight:>4} in flight  {contestant.name:<22}"
        f" {sample.per_second:>11,.0f}/s  mean {sample.mean:.3f} ms"
    )
