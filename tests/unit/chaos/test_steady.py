"""Growth is what is left when the first minute and single outliers are taken away."""

import os

import pytest

from chaos.steady import Watch, resident_bytes


def watched(sizes: list[int]) -> Watch:
    """One size a second."""
    seen = Watch()
    for at, size in enumerate(sizes):
        seen.note("worker-0", float(at), size)
    return seen


def test_what_grows_in_the_warm_up_alone_has_not_grown() -> None:
    seen = watched([*range(0, 6000, 100), *[6000] * 60])
    assert seen.growth("worker-0", 60.0, 120.0) == 0.0


def test_what_goes_on_growing_has_grown() -> None:
    seen = watched([1000 + at for at in range(120)])
    assert seen.growth("worker-0", 60.0, 120.0) == pytest.approx(0.047, abs=0.005)


def test_a_single_outlier_is_no_growth() -> None:
    seen = watched([*[1000] * 115, 9000, *[1000] * 4])
    assert seen.growth("worker-0", 60.0, 120.0) == 0.0


def test_a_process_that_has_ended_has_no_memory() -> None:
    assert resident_bytes(os.getpid()) > 1 << 20
    assert resident_bytes(2**30) == 0
