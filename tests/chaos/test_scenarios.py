"""What happens when parts of a mesh die, measured on one of three schedulers and eight workers."""

from collections.abc import Mapping
from typing import Any

import pytest

from support.chaos_runs import chaos

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def verdicts() -> Mapping[str, Mapping[str, Any]]:
    """Of every scenario, played one after the other on one mesh."""
    return {verdict["name"]: verdict for verdict in chaos("--scenario", "all")}


def test_what_a_killed_worker_had_in_hand_begins_to_run_elsewhere_within_a_second(verdicts: Any) -> None:
    assert not verdicts["worker-killed"]["violations"]


def test_what_a_frozen_worker_had_in_hand_begins_to_run_elsewhere_within_a_lease_and_a_second(verdicts: Any) -> None:
    assert not verdicts["worker-frozen"]["violations"]


def test_only_a_dead_schedulers_calls_fail(verdicts: Any) -> None:
    assert not verdicts["halves"]["violations"]
    assert set(verdicts["halves"]["ends"]) <= {"OK", "SERVER_UNREACHABLE", "MODEL_NOT_READY"}


def test_what_a_stream_cancels_is_not_run_unless_it_had_begun_and_leaves_no_memory(verdicts: Any) -> None:
    assert not verdicts["stream"]["violations"]
    assert verdicts["stream"]["figures"]["cancelled"] == 100
    assert verdicts["stream"]["figures"]["begun_later"] == 0


def test_a_poison_request_costs_two_workers_and_no_other_call(verdicts: Any) -> None:
    assert not verdicts["poison"]["violations"]
    assert verdicts["poison"]["ends"] == {"OK": 1000, "POISON_REQUEST": 1}
