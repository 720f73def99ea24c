"""From a selector to a version, and why."""

import pytest

from nnpm.errors import FailedPrecondition, NotFound
from nnpm.package.references import Selector
from nnpm_registry.records import Listed
from nnpm_registry.resolve import Choice, choose

PUBLISHED = [Listed("2.0.0-rc.1", False), Listed("1.3.0", True), Listed("1.2.0", False), Listed("1.0.0", False)]


def chosen(selector: str, tagged: str | None = None, published: list[Listed] | None = None) -> Choice:
    return choose("acme/tiny", Selector.parse(selector), PUBLISHED if published is None else published, tagged)


def test_a_range_takes_the_highest_that_is_not_yanked_and_says_so() -> None:
    choice = chosen("^1")
    assert choice.version == "1.2.0"
    assert "highest of 4 published versions in ^1; 1 higher yanked" in choice.explanation


def test_a_prerelease_is_taken_only_where_the_range_names_one() -> None:
    assert chosen(">=1").version == "1.2.0"
    assert chosen(">=2.0.0-rc.0").version == "2.0.0-rc.1"


def test_a_range_that_matches_nothing_lists_what_there_is() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("^3")
    assert caught.value.reason == "NO_MATCHING_VERSION"
    assert caught.value.hint == "published are 2.0.0-rc.1, 1.2.0, 1.0.0"


def test_a_range_of_yanked_versions_only_says_that_they_are_yanked() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("~1.3")
    assert "1 are" in caught.value.message


def test_many_versions_are_listed_in_short() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("^99", published=[Listed(f"1.{minor}.0", False) for minor in range(30, 0, -1)])
    assert caught.value.hint.endswith("and 20 more")


def test_an_exact_version_is_taken_as_it_is() -> None:
    assert chosen("1.0.0") == Choice("1.0.0", "1.0.0, because it was named exactly")


def test_an_exact_version_that_is_yanked_is_not_chosen() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        chosen("1.3.0")
    assert caught.value.reason == "VERSION_YANKED"
    assert "1.2.0" in caught.value.hint


def test_an_unknown_version_lists_what_there_is() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("9.9.9")
    assert caught.value.reason == "VERSION_NOT_FOUND"
    assert "1.2.0" in caught.value.hint


def test_a_tag_names_its_version() -> None:
    assert chosen("champion", "1.0.0").explanation == "1.0.0, because the tag champion names it"


def test_a_tag_on_a_yanked_version_chooses_nothing() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        chosen("champion", "1.3.0")
    assert caught.value.reason == "VERSION_YANKED"


def test_an_unknown_tag_is_told() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("champion")
    assert caught.value.reason == "TAG_NOT_FOUND"


def test_without_a_release_latest_says_which_prereleases_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("", published=[Listed("1.0.0-rc.1", False)])
    assert caught.value.reason == "NO_MATCHING_VERSION"
    assert "1.0.0-rc.1" in caught.value.hint
