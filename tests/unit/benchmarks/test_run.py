"""Rounds alternate, warm-ups do not count, and whatever happens everybody is stopped."""

from dataclasses import dataclass, field

import pytest

from benchmarks.load_run import LoadError
from benchmarks.points import Point
from benchmarks.run import measure_all
from benchmarks.sample import Sample

POINT = Point("tiny", 4)


@dataclass
class Recorded:
    """A contestant that answers at a given rate and writes down what happens to it."""

    name: str
    diary: list[str] = field(default_factory=list)
    rate: float = 100.0
    fails_at_call: int = 10**9
    settings: str = ""

    def serves(self, point: Point) -> bool:
        return point == POINT

    def start(self) -> None:
        self.diary.append(f"start {self.name}")

    def stop(self) -> None:
        self.diary.append(f"stop {self.name}")

    def check(self, point: Point) -> None:
        self.diary.append(f"check {self.name}")

    def measure(self, point: Point, requests: int) -> Sample:
        if len(self.diary) >= self.fails_at_call:
            raise LoadError("no")
        self.diary.append(f"measure {self.name}")
        assert requests % point.in_flight == 0
        return Sample(requests, self.rate, 1.0, 1.0, 1.0)


def test_every_round_begins_with_another_contestant() -> None:
    diary: list[str] = []
    pair = [Recorded("a", diary), Recorded("b", diary)]
    results, _ = measure_all(pair, [POINT], rounds=3, seconds=0.1, say=lambda _: None)
    measured = [line.removeprefix("measure ") for line in diary if line.startswith("measure")]
    assert measured[4:] == ["a", "b", "b", "a", "a", "b"], "after two warm-ups each"
    assert results[POINT]["a"].rounds == 3
    assert diary[-2:] == ["stop b", "stop a"]


def test_a_failure_stops_all() -> None:
    diary: list[str] = []
    pair = [Recorded("a", diary), Recorded("b", diary, fails_at_call=5)]
    with pytest.raises(LoadError):
        measure_all(pair, [POINT], rounds=3, seconds=0.1, say=lambda _: None)
    assert {"stop a", "stop b"} <= set(diary)
