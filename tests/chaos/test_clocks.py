"""Wall clocks that jump change nothing: what is counted, is counted on monotonic clocks."""

import pytest

from support.chaos_runs import chaos
from support.tools import missing


@pytest.mark.timeout(300)
def test_a_workers_wall_clock_may_jump_by_an_hour() -> None:
    (verdict,) = chaos(
        *("--faults", "jump-clock", "--seconds", "8", "--workers", "2", "--schedulers", "1", "--rate", "40")
    )
    if not verdict["faults"]:
        missing("there is no C compiler for the library that makes clocks jump")
    assert not verdict["violations"]
    assert verdict["deaths"] <= 2  # the lethal call's
