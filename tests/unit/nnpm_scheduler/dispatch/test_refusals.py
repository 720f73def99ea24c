"""What calls fail with reaches the transport as a status that every client can read."""

import inspect

import pytest
from google.rpc.status_pb2 import Status

from nnpm.errors import NnpmError
from nnpm.reasons import REASONS
from nnpm.rpc.status import from_status
from nnpm_scheduler.dispatch import refusals

MADE = [
    refusals.stopping(),
    refusals.past_deadline(),
    refusals.queue_unavailable(),
    refusals.revision_retired(),
    refusals.poison(),
    refusals.claim_not_found(),
    refusals.too_much_in_flight("calls", 3),
    refusals.message_too_large(4),
    refusals.scheduler_changed("abc"),
    refusals.unknown_stream_order(),
    refusals.cancels_nothing(),
    refusals.overloaded(2.5, 1.0),
    refusals.quota_exceeded("tenant:gold", "3 requests a second", 0.25),
    refusals.quota_unknown(),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: error.reason)
def test_a_refusal_says_code_message_and_details_alike(error: NnpmError) -> None:
    code, message, details = refusals.refusal(error)
    status = Status.FromString(details)
    assert (status.code, status.message) == (code, message)
    told = from_status(status)
    assert (told.code, told.reason, told.message, told.hint, told.retry_after) == (
        error.code,
        error.reason,
        error.message,
        error.hint,
        error.retry_after,
    )
    assert error.reason in REASONS


def test_every_refusal_is_looked_at_here() -> None:
    makers = [
        name
        for name, maker in inspect.getmembers(refusals, inspect.isfunction)
        if maker.__module__ == refusals.__name__ and name not in {"refusal", "refuse"}
    ]
    assert len(makers) == len(MADE)
