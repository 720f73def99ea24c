"""Bytes that sort as SemVer does."""

from hypothesis import given
from hypothesis import strategies as st

from nnpm.package.versions import Version
from nnpm_registry.precedence import precedence

IDENTIFIERS = st.one_of(
    st.integers(0, 10**30).map(str),
    st.text("abzAZ09-", min_size=1, max_size=6).filter(lambda text: not (text.isdigit() and text[0] == "0")),
)
BUILDS = st.text("abzAZ09-", min_size=1, max_size=6)
NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, 2**53 - 1))
VERSIONS = st.builds(
    lambda core, marks, build: Version.parse(
        ".".join(map(str, core)) + ("-" + ".".join(marks) if marks else "") + ("+" + ".".join(build) if build else "")
    ),
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.lists(IDENTIFIERS, max_size=4),
    st.lists(BUILDS, max_size=2),
)


@given(VERSIONS, VERSIONS)
def test_bytes_compare_as_versions_do(one: Version, other: Version) -> None:
    assert (precedence(one) < precedence(other)) == (one < other)
    assert (precedence(one) == precedence(other)) == (one == other)


def test_the_examples_of_the_specification_are_in_order() -> None:
    marks = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    texts = [*(f"1.0.0-{mark}" for mark in marks), "1.0.0"]
    keys = [precedence(Version.parse(text)) for text in texts]
    assert keys == sorted(keys)
