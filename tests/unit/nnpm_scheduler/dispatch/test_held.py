"""Bounds on what the scheduler holds: each refuses the call that would pass it, and every call gives all back."""

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from nnpm.rpc.status import from_status
from nnpm_scheduler.dispatch.held import Bounds, Held


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        (Bounds(25, 1_000, 100), "as many bytes of requests as it may (25)"),
        (Bounds(1_000, 25, 100), "as many bytes of requests from this connection as it may (25)"),
        (Bounds(1_000, 1_000, 2), "as many calls as it may (2)"),
    ],
)
def test_each_bound_refuses_the_call_that_would_pass_it(bounds: Bounds, says: str) -> None:
    held = Held(bounds)
    assert held.take("a", 10) is None
    assert held.take("a", 10) is None
    refused = held.take("a", 10)
    assert refused is not None
    error = from_status(Status.FromString(refused[2]))
    assert (error.code, error.reason, error.retry_after) == ("RESOURCE_EXHAUSTED", "TOO_MUCH_IN_FLIGHT", 0.1)
    assert says in error.message
    for _ in range(2):
        held.release("a", 10)
    assert held.take("a", 10) is None


def test_a_connection_has_its_own_bound() -> None:
    held = Held(Bounds(1_000, 25, 100))
    assert [held.take(source, 10) for source in ("a", "a", "b", "b")] == [None] * 4


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=30))
def test_whatever_was_taken_is_given_back(calls: list[tuple[str, int]]) -> None:
    held = Held(Bounds(100, 50, 5))
    for source, size in calls:
        held.take(source, size)
    assert held.bytes == sum(size for _, size in calls)
    for source, size in calls:
        held.release(source, size)
    assert (held.bytes, held.calls, held._by_source) == (0, 0, {})
