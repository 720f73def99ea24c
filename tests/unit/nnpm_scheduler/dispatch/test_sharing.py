"""Weights of tenants, as the settings tell them."""

import pytest

from nnpm_scheduler.dispatch.sharing import Sharing, read_weights


def test_weights_are_read_and_whom_they_do_not_name_weighs_one() -> None:
    sharing = Sharing(weights=read_weights(" gold=4, a=b=0.5,"))
    assert [sharing.weight_of(tenant) for tenant in ("gold", "a=b", "", "other")] == [4.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("text", ["gold", "gold=", "gold=0", "gold=-1", "gold=inf", "gold=nan", "gold=x"])
def test_what_is_no_weight_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TENANT=WEIGHT"):
        read_weights(text)
