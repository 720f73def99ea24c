"""Request ids and field masks: one rule for every service."""

import pytest

from nnpm.errors import InvalidArgument
from nnpm.rpc.requests import check_request_id, masked_fields


def test_a_request_id_has_at_most_64_characters() -> None:
    assert check_request_id("x" * 64) == "x" * 64
    with pytest.raises(InvalidArgument) as refused:
        check_request_id("x" * 65)
    assert refused.value.reason == "INVALID_REQUEST_ID"


def test_an_empty_mask_names_everything() -> None:
    assert masked_fields((), ("a", "b")) == {"a", "b"}
    assert masked_fields(("b",), ("a", "b")) == {"b"}


def test_a_mask_that_names_something_else_is_refused_by_name_and_in_few_words() -> None:
    with pytest.raises(InvalidArgument) as refused:
        masked_fields(["a", "c" * 1000, *(f"d{n}" for n in range(1000))], ("a", "b"))
    assert refused.value.reason == "INVALID_FIELD_MASK"
    assert len(refused.value.message) < 2500
    assert len(refused.value.violations) == 20
