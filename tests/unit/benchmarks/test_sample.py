"""Medians and percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sample import GENERATOR, Sample, median_of, percentile


def test_every_figure_has_its_own_median_and_one_bad_round_moves_none() -> None:
    rounds = [
        Sample(1000, 100.0, 2.0, 1.5, 9.0, {"server": 0.010, GENERATOR: 0.002}, {"queue": 30.0}),
        Sample(1000, 110.0, 1.0, 1.0, 5.0, {"server": 0.020, GENERATOR: 0.002}, {"queue": 20.0}),
        Sample(1000, 1.0, 900.0, 800.0, 999.0, {"server": 0.900, GENERATOR: 0.002}, {"queue": 900.0}),
    ]
    found = median_of(rounds)
    assert (found.per_second, found.low, found.high) == (100.0, 1.0, 110.0)
    assert (found.mean, found.p50, found.p99) == (2.0, 1.5, 9.0)
    assert found.split == {"queue": 30.0}
    assert found.cpu["server"] == pytest.approx(20.0), "milliseconds for 1,000 requests"
    assert found.server_cpu == pytest.approx(20.0), "the generator is no part of the server"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered)
