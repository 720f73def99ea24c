"""What the scheduler's settings refuse."""

import pytest
from pydantic import ValidationError

from nnpm_scheduler.settings import SchedulerSettings


@pytest.mark.parametrize("key", ["x-team", "a.b_c-1"])
def test_a_metadata_key_is_what_a_client_may_send(key: str) -> None:
    assert SchedulerSettings(scheduler_tenant_key=key).scheduler_tenant_key == key


@pytest.mark.parametrize("key", ["", "X-Team", "team-bin", "grpc-timeout", "traceparent", "a b"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="a key is of"):
        SchedulerSettings(scheduler_tenant_key=key)


def test_weights_are_looked_at_before_the_service_starts() -> None:
    with pytest.raises(ValidationError, match="TENANT=WEIGHT"):
        SchedulerSettings(scheduler_tenant_weights="gold")
