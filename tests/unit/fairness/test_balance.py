"""Simulated policies: each call is run once, for its own time, by one worker at a time."""

from random import Random

import pytest

from fairness.balance import OTHERS, Arrival, as_table, compared, percentiles, pull, trace

EACH = [Arrival(0.0, 1.0), Arrival(0.1, 1.0), Arrival(0.2, 1.0), Arrival(0.3, 4.0)]


def test_who_is_free_takes_the_next_after_the_gap() -> None:
    assert pull(EACH, 2, 0.0) == pytest.approx([1.0, 1.0, 1.8, 4.8])
    assert pull(EACH, 2, 0.5) == pytest.approx([1.5, 1.4, 2.8, 5.7])


def test_by_turns_a_call_waits_behind_its_own_workers() -> None:
    assert OTHERS["round robin"](EACH, 2) == pytest.approx([1.0, 1.0, 1.8, 4.8])
    one_is_long = [Arrival(0.0, 9.0), Arrival(0.0, 1.0), Arrival(2.0, 1.0)]
    assert OTHERS["round robin"](one_is_long, 2) == pytest.approx([9.0, 1.0, 8.0])
    assert OTHERS["least loaded"](one_is_long, 2) == pytest.approx([9.0, 1.0, 1.0])


def test_the_first_in_the_order_is_filled_first() -> None:
    assert OTHERS["priority"]([Arrival(0.0, 1.0)] * 4, 4) == pytest.approx([1.0, 2.0, 1.0, 2.0])


def test_pull_is_never_worse_than_queues_of_ones_own() -> None:
    found = compared(trace(30.0, 200.0, 0.2, Random(3)), 8, 0.0)
    ours = percentiles(found.pop("pull (simulated)"))["p99"]
    assert all(ours <= percentiles(theirs)["p99"] for theirs in found.values())
    assert as_table(found).count("\n") == 1 + len(found)
