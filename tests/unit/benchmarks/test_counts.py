"""Where a call's time went, between two readings of ModelStatistics."""

from benchmarks.counts import Counts


def test_the_parts_and_the_rest_make_the_whole() -> None:
    before = Counts(10, 1_000_000, {"queue": 500_000, "compute_infer": 100_000})
    after = Counts(20, 11_000_000, {"queue": 2_500_000, "compute_infer": 5_100_000})
    assert after.split_since(before) == {"queue": 200.0, "compute_infer": 500.0, "other": 300.0}


def test_a_server_that_does_not_say_has_no_split() -> None:
    assert Counts(20).split_since(Counts(10)) == {}
