"""Pages: sizes and opaque tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm.errors import InvalidArgument
from nnpm.rpc.pages import last_seen, page_size, page_token


def test_zero_is_the_default_size() -> None:
    assert (page_size(0), page_size(1), page_size(1000)) == (100, 1, 1000)


@pytest.mark.parametrize("asked", [-1, 1001])
def test_other_sizes_are_refused(asked: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        page_size(asked)
    assert refused.value.reason == "INVALID_PAGE_SIZE"


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_token_names_the_item_that_it_was_made_of(last: str) -> None:
    assert last_seen(page_token(last)) == last


@pytest.mark.parametrize("token", ["?", "a", "====", "gICA\n", "_w"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        last_seen(token)
    assert refused.value.reason == "INVALID_PAGE_TOKEN"
