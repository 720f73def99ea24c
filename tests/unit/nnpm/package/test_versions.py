import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm.errors import InvalidArgument
from nnpm.package.versions import MAX_NUMBER, Version, is_version

# The order that https://semver.org/spec/v2.0.0.html#spec-item-11 gives as its example, and its neighbours.
ASCENDING = (
    "0.0.0", "0.0.1-0", "0.0.1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0",
)  # fmt: skip

numbers = st.integers(0, MAX_NUMBER)
identifiers = st.from_regex(r"(0|[1-9][0-9]{0,4}|[0-9]{0,3}[a-zA-Z-][0-9a-zA-Z-]{0,5})", fullmatch=True)


def test_order_is_that_of_the_specification() -> None:
    versions = [Version.parse(text) for text in ASCENDING]
    assert sorted({*versions}) == versions
    assert all(first < second for first, second in itertools.pairwise(versions))


def test_versions_that_differ_in_build_metadata_only_have_an_order_too() -> None:
    first, second = Version.parse("1.0.0+1"), Version.parse("1.0.0+2")
    assert first < second < Version.parse("1.0.1-0")


@given(numbers, numbers, numbers, st.lists(identifiers, max_size=3), st.lists(identifiers, max_size=2))
def test_text_survives_parsing(major: int, minor: int, patch: int, prerelease: list[str], build: list[str]) -> None:
    text = f"{major}.{minor}.{patch}"
    text += "-" + ".".join(prerelease) if prerelease else ""
    text += "+" + ".".join(build) if build else ""
    assert str(Version.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-01", "1.2.3-", "1.2.3+", "1.2.3-a..b",
        " 1.2.3", "1.2.3 ", "1.2.3\n", "1.2.3-ü", "\u0661.2.3", "-1.2.3", "1.2.3-+b", f"{MAX_NUMBER + 1}.0.0",
        "1.0.0-" + "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_version_is_refused_with_a_hint(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(InvalidArgument) as caught:
        Version.parse(text)
    assert caught.value.reason == "INVALID_VERSION"
    assert is_version(caught.value.hint.removeprefix("for example "))
