"""Two short seeds: enough to see that nothing is broken outright. Ten long ones are run by hand."""

import pytest

from support.chaos_runs import chaos


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_broken_mesh_loses_doubles_and_mixes_up_nothing(seed: int) -> None:
    (verdict,) = chaos("--seed", str(seed), "--seconds", "20", "--workers", "4", "--schedulers", "2", "--rate", "40")
    assert not verdict["violations"]
    assert verdict["faults"] >= 8
    # Who calls a scheduler that is dead is told so at once, for as long as its machine takes to start it again.
    held = verdict["calls"] - sum(verdict["ends"].get(reason, 0) for reason in ("SERVER_UNREACHABLE", "UNAVAILABLE"))
    assert verdict["ends"]["OK"] > 0.8 * held, verdict
